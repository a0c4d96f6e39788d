use serde::{Deserialize, Serialize};

use crate::plan::budget::Budget;
use crate::plan::card::Card;
use crate::recipe::{Complaint, RecipeError, Setting, Text};

/// A budget as it is typed: one limit of the file, and the card that it is for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetFile {
    /// Bytes of the whole file, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Bits of a converted weight, scales included, on average and at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits: Option<f64>,
    /// Predicted loss, at most; the smallest such file is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Name of the card. Default any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card: Option<String>,
}

impl BudgetFile {
    /// Returns the limit and the card. Whether a file can keep it is for the search to say.
    ///
    /// # Errors
    /// A complaint where there is no limit or more than one, about a number that limits nothing, and about
    /// a card that nobody knows.
    pub fn check(&self) -> Result<(Budget, Card), RecipeError> {
        let limits =
            [self.size.map(Budget::Size), self.bits.map(Budget::Bits), self.loss.map(Budget::Loss)];
        let limits: Vec<Budget> = limits.into_iter().flatten().collect();
        let mut complaints = vec![];
        let wrong = limits.iter().filter(|limit| !limit.is_positive());
        complaints
            .extend(wrong.map(|limit| Complaint::about(limit.key(), "expected a number above 0")));
        match limits[..] {
            [] => complaints.push(Complaint::about(
                "size",
                "a budget needs a limit: of the size, of the bits of a weight, or of the loss",
            )),
            [first, second, ..] => complaints.push(Complaint::about(
                second.key(),
                Text::from("is a second limit; ") + Setting::new(first.key()).quoted() + " is one",
            )),
            [_] => {}
        }
        let card = self.card();
        complaints.extend(card.as_ref().err().cloned());
        match (limits[..].first(), card) {
            (Some(limit), Ok(card)) if complaints.is_empty() => Ok((*limit, card)),
            _ => Err(RecipeError { complaints }),
        }
    }

    fn card(&self) -> Result<Card, Complaint> {
        let Some(name) = &self.card else { return Ok(Card::default()) };
        let known = Card::NAMES.iter().find(|(known, _)| known == name);
        known.map(|(_, card)| *card).ok_or_else(|| {
            let names = Card::NAMES.map(|(name, _)| name).join(", ");
            Complaint::about("card", format!("unknown card `{name}`, expected one of {names}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_has_one_limit_that_is_one() {
        let size = BudgetFile { size: Some(7), ..BudgetFile::default() };
        assert_eq!(size.check(), Ok((Budget::Size(7), Card::Any)));
        let card = |name: &str| Some(name.to_owned());
        let known = BudgetFile { card: card("rtx40"), ..size.clone() };
        assert_eq!(known.check(), Ok((Budget::Size(7), Card::Rtx40)));
        for (file, settings) in [
            (BudgetFile::default(), vec!["size"]),
            (BudgetFile { bits: Some(4.0), ..size.clone() }, vec!["bits"]),
            (BudgetFile { size: Some(0), ..BudgetFile::default() }, vec!["size"]),
            (BudgetFile { bits: Some(f64::NAN), ..BudgetFile::default() }, vec!["bits"]),
            (
                BudgetFile { loss: Some(-1.0), card: card("gtx"), ..BudgetFile::default() },
                vec!["loss", "card"],
            ),
        ] {
            let complaints = file.check().unwrap_err().complaints;
            let found: Vec<String> =
                complaints.iter().map(|it| it.setting.as_ref().unwrap().to_string()).collect();
            assert_eq!(found, settings, "{file:?}");
        }
    }
}
