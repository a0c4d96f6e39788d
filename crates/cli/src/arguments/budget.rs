use std::path::PathBuf;

use clap::Args;
use roundwise_convert::plan::{BudgetFile, Card};
use roundwise_convert::recipe::help::choices;
use roundwise_convert::scheme::Scheme;

use super::size::parse_size;

/// A limit for the output, within which every layer gets the scheme that serves the whole best.
#[derive(Debug, Args)]
#[command(next_help_heading = "Budget")]
pub(crate) struct BudgetFlags {
    /// Choose each layer's scheme so that the file has at most this size (such as 12GB) and loses least
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    size: Option<u64>,
    /// Choose each layer's scheme so that a converted weight has at most so many bits on average, scales included,
    /// and the file loses least
    #[arg(long, value_name = "BITS")]
    bits: Option<f64>,
    /// Choose each layer's scheme so that the file is the smallest that is predicted to lose at most this, in nats
    /// per token or half the squared error of an output; needs statistics with gradients
    #[arg(long, value_name = "LOSS")]
    loss: Option<f64>,
    #[arg(long, value_name = "CARD", help = card_help())]
    card: Option<String>,
    /// Schemes to choose among, in place of those that suit the card
    #[arg(long, value_name = "SCHEME,…", value_delimiter = ',', value_parser = parse_scheme)]
    schemes: Vec<Scheme>,
    /// File that keeps what layers lose in each scheme, for the next time [default: MODEL.sensitivity.json beside
    /// the input]
    #[arg(long, value_name = "FILE")]
    sensitivity: Option<PathBuf>,
}

impl BudgetFlags {
    /// Returns the budget, if a limit was asked for.
    pub(crate) fn to_file(&self) -> Option<BudgetFile> {
        let (size, bits, loss) = (self.size, self.bits, self.loss);
        let is_limited = size.is_some() || bits.is_some() || loss.is_some();
        is_limited.then(|| BudgetFile { size, bits, loss, card: self.card.clone() })
    }

    /// Returns a flag that means nothing without a limit, where there is none.
    pub(crate) fn idle(&self) -> Option<&'static str> {
        let flags = [
            ("--card", self.card.is_some()),
            ("--schemes", !self.schemes.is_empty()),
            ("--sensitivity", self.sensitivity.is_some()),
        ];
        let is_idle = self.to_file().is_none();
        flags.into_iter().find(|(_, is_given)| is_idle && *is_given).map(|(flag, _)| flag)
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

pub(super) fn parse_scheme(text: &str) -> Result<Scheme, String> {
    text.parse::<Scheme>().map_err(|error| error.to_string())
}
