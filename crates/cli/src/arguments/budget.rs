use std::path::PathBuf;

use clap::Args;
use roundwise_convert::plan::{Budget, Card};
use roundwise_convert::scheme::Scheme;

use super::size::parse_size;
use crate::method_flags::choices;

/// A limit for the output, within which every layer gets the scheme that serves the whole best.
#[derive(Debug, Args)]
#[command(next_help_heading = "Budget")]
pub(crate) struct BudgetFlags {
    /// Choose each layer's scheme so that the file has at most this size (such as 12GB) and loses least
    #[arg(long, value_name = "SIZE", value_parser = parse_size, conflicts_with_all = ["bits", "loss"])]
    size: Option<u64>,
    /// The same with at most so many bits for a converted weight on average, scales included
    #[arg(long, value_name = "BITS", value_parser = parse_positive, conflicts_with = "loss")]
    bits: Option<f64>,
    /// The same for the smallest file that is predicted to lose at most this, in nats per token or half the
    /// squared error of an output; needs statistics with gradients
    #[arg(long, value_name = "LOSS", value_parser = parse_positive)]
    loss: Option<f64>,
    #[arg(long, value_name = "CARD", value_parser = parse_card, help = card_help())]
    card: Option<Card>,
    /// Schemes to choose among, in place of those that suit the card
    #[arg(long, value_name = "SCHEME,…", value_delimiter = ',', value_parser = parse_scheme)]
    schemes: Vec<Scheme>,
    /// File that keeps what layers lose in each scheme [default: beside the input]
    #[arg(long, value_name = "FILE")]
    sensitivity: Option<PathBuf>,
}

impl BudgetFlags {
    /// Returns the limit, if one was asked for.
    pub(crate) fn budget(&self) -> Option<Budget> {
        let size = self.size.map(Budget::Size);
        // The parser lets only one of them through.
        size.or(self.bits.map(Budget::Bits)).or(self.loss.map(Budget::Loss))
    }

    /// Returns a flag that means nothing without a limit.
    pub(crate) fn idle(&self) -> Option<&'static str> {
        let flags = [
            ("--card", self.card.is_some()),
            ("--schemes", !self.schemes.is_empty()),
            ("--sensitivity", self.sensitivity.is_some()),
        ];
        let is_idle = self.budget().is_none();
        flags.into_iter().find(|(_, is_given)| is_idle && *is_given).map(|(flag, _)| flag)
    }

    pub(crate) fn card(&self) -> Card {
        self.card.unwrap_or_default()
    }

    pub(crate) fn schemes(&self) -> &[Scheme] {
        &self.schemes
    }

    pub(crate) fn cache(&self) -> Option<&PathBuf> {
        self.sensitivity.as_ref()
    }
}

fn card_help() -> String {
    choices("The card that the file is for", Card::NAMES.map(|(name, _)| name))
        + " [default: any, which is INT8 and INT4, rotated]"
}

fn parse_card(text: &str) -> Result<Card, String> {
    let known = Card::NAMES.into_iter().find(|(name, _)| *name == text);
    known.map(|(_, card)| card).ok_or_else(|| {
        let names = Card::NAMES.map(|(name, _)| name).join(", ");
        format!("expected one of {names}")
    })
}

pub(super) fn parse_scheme(text: &str) -> Result<Scheme, String> {
    text.parse::<Scheme>().map_err(|error| error.to_string())
}

fn parse_positive(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| *number > 0.0 && number.is_finite());
    number.ok_or_else(|| "expected a number above 0".to_owned())
}
