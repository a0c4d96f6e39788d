use super::{Goal, at_least, at_most};

// Sentence encoders on held-out texts, over nearest codes of the same scheme; the worse of both models.
pub(crate) const FP8_FULL: Goal =
    at_most("output error², `fp8`, full statistics, over nearest", Some(0.40), Some(0.30));
pub(crate) const FP8_RANK_64: Goal =
    at_most("output error², `fp8`, rank 64 + diagonal, over nearest", Some(0.50), None);
pub(crate) const FP8_RANK_16: Goal =
    at_most("output error², `fp8`, rank 16 + diagonal, over nearest", Some(0.60), None);
pub(crate) const FP8_EMBEDDINGS: Goal = at_most(
    "1 − cosine of embeddings, `fp8`, full statistics, over nearest",
    Some(0.50),
    Some(0.40),
);
pub(crate) const INT8_FULL: Goal =
    at_most("output error², `int8-row`, full statistics, over nearest", Some(0.45), Some(0.35));
pub(crate) const CONVROT_EMBEDDINGS: Goal = at_most(
    "1 − cosine of embeddings, `int8-row-convrot`, full statistics, damping 5 %, over nearest",
    Some(0.45),
    Some(0.30),
);
pub(crate) const NVFP4_FULL: Goal =
    at_most("output error², `nvfp4`, full statistics, over nearest", Some(0.55), None);
pub(crate) const INT4_FULL: Goal =
    at_most("output error², `int4-convrot`, full statistics, over nearest", Some(0.55), None);

// One 3072×3072 layer, two cores.
pub(crate) const SECONDS_FULL: Goal =
    at_most("seconds for a 3072×3072 layer, full statistics", Some(3.0), Some(1.0));
pub(crate) const SECONDS_RANK_64: Goal =
    at_most("seconds for a 3072×3072 layer, rank 64 + diagonal", Some(1.0), None);

pub(crate) const COLLECTOR: Goal =
    at_most("encoding 300 texts with MiniLM while collecting, over the plain run", Some(2.0), None);

pub(crate) const SELF: Goal = at_most(
    "KL of a small language model, `fp8`, full statistics of its own text, over nearest",
    Some(0.80),
    Some(0.70),
);

// Gemma 3 270M on held-out texts, over nearest codes of the same scheme.
pub(crate) const KL_FORWARD_FP8: Goal =
    at_most("KL, `fp8`, statistics without gradients, over nearest", Some(0.56), Some(0.53));
pub(crate) const KL_FORWARD_INT8: Goal =
    at_most("KL, `int8-row`, statistics without gradients, over nearest", Some(0.40), Some(0.31));
pub(crate) const KL_FORWARD_INT4: Goal = at_most(
    "KL, `int4-convrot`, statistics without gradients, over nearest",
    Some(0.16),
    Some(0.12),
);
pub(crate) const KL_FORWARD_NVFP4: Goal =
    at_most("KL, `nvfp4`, statistics without gradients, over nearest", Some(0.33), Some(0.25));
pub(crate) const KL_CURVATURE_FP8: Goal =
    at_most("KL, `fp8`, statistics with gradients, over nearest", Some(0.50), Some(0.44));
pub(crate) const KL_CURVATURE_INT8: Goal =
    at_most("KL, `int8-row`, statistics with gradients, over nearest", Some(0.35), Some(0.26));
pub(crate) const KL_CURVATURE_INT4: Goal =
    at_most("KL, `int4-convrot`, statistics with gradients, over nearest", Some(0.15), Some(0.11));
pub(crate) const KL_CURVATURE_NVFP4: Goal =
    at_most("KL, `nvfp4`, statistics with gradients, over nearest", Some(0.32), Some(0.22));
pub(crate) const KL_CONVROT_OVER_FP8: Goal =
    at_most("KL, `int8-row-convrot` with statistics, over `fp8` nearest", Some(0.04), Some(0.032));
pub(crate) const KL_RANK_64: Goal =
    at_most("share of the gain in KL that rank 64 + diagonal loses", Some(0.15), Some(0.08));
pub(crate) const KL_OWN_TEXT: Goal =
    at_most("KL with statistics of the model's own text, over real text's", Some(1.4), Some(1.2));
pub(crate) const COLLECTING_MIXED: Goal =
    at_most("collecting without gradients, over the plain run", Some(3.0), Some(2.0));
pub(crate) const COLLECTING_CURVATURE: Goal =
    at_most("collecting with gradients, over the plain run", Some(5.0), Some(4.0));

// Predictions, of statistics with gradients.
pub(crate) const LAYER_RANKS: Goal =
    at_least("rank correlation of predicted with measured KL of one layer", Some(0.9), Some(0.95));
pub(crate) const LAYER_RATIO: Goal = at_most(
    "predicted over measured KL of one layer in the median, or measured over predicted",
    Some(1.25),
    None,
);
pub(crate) const MIX_OVER_HAND: Goal =
    at_most("KL of a mix of 6 bits, over that of a rule of thumb", Some(0.65), Some(0.55));

pub(crate) const ALL: [&Goal; 28] = [
    &FP8_FULL,
    &FP8_RANK_64,
    &FP8_RANK_16,
    &FP8_EMBEDDINGS,
    &INT8_FULL,
    &CONVROT_EMBEDDINGS,
    &NVFP4_FULL,
    &INT4_FULL,
    &SECONDS_FULL,
    &SECONDS_RANK_64,
    &COLLECTOR,
    &SELF,
    &KL_FORWARD_FP8,
    &KL_FORWARD_INT8,
    &KL_FORWARD_INT4,
    &KL_FORWARD_NVFP4,
    &KL_CURVATURE_FP8,
    &KL_CURVATURE_INT8,
    &KL_CURVATURE_INT4,
    &KL_CURVATURE_NVFP4,
    &KL_CONVROT_OVER_FP8,
    &KL_RANK_64,
    &KL_OWN_TEXT,
    &COLLECTING_MIXED,
    &COLLECTING_CURVATURE,
    &LAYER_RANKS,
    &LAYER_RATIO,
    &MIX_OVER_HAND,
];
