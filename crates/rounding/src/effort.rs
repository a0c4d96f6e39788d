/// How much time a solver may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// A few passes.
    Fast,
    /// About as many passes as pay.
    #[default]
    Normal,
    /// The last few per cent.
    High,
}

impl Effort {
    /// Returns how many vectors are searched for beside the `rank` that are wanted.
    pub(crate) fn oversampling(self, rank: usize) -> usize {
        // 10 as Halko, Martinsson and Tropp advise (2011), and a share of the rank beside it: what
        // is not found is not minimised.
        match self {
            Self::Fast => 10 + rank / 12,
            Self::Normal => 10 + rank / 8,
            Self::High => 10 + rank / 4,
        }
    }

    /// The names of [`named`](Self::named).
    pub const NAMES: [&str; 3] = ["fast", "normal", "high"];

    /// Returns the name that [`named`](Self::named) knows it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }

    /// Returns the effort of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "fast" => Some(Self::Fast),
            "normal" => Some(Self::Normal),
            "high" => Some(Self::High),
            _ => None,
        }
    }
}
