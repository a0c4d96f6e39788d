/// A part of a stored layer that a loader would trip over or read wrongly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Defect {
    /// Name without `.weight`; empty for the file as a whole.
    pub layer: String,
    /// One line: found and expected.
    pub problem: String,
    /// The programs that it breaks, and how.
    pub breaks: &'static str,
}

impl Defect {
    pub(crate) fn new(layer: &str, problem: impl Into<String>, breaks: &'static str) -> Self {
        Self { layer: layer.to_owned(), problem: problem.into(), breaks }
    }

    /// Returns whether the header lacks what marker tensors say, which only programs that read nothing else
    /// miss.
    pub fn is_of_the_header(&self) -> bool {
        self.breaks == breaks::OLD_COMFYUI
    }
}

/// The programs that a defect breaks, and how.
pub(crate) mod breaks {
    pub(crate) const MARKER: &str = "ComfyUI from 0.3.77 on, which stops at the layer";
    pub(crate) const HEADER: &str = "ComfyUI from 0.3.68 on, which stops at the layer";
    pub(crate) const UNREADABLE: &str = "ComfyUI, which stops at the layer or reads other weights";
    pub(crate) const UNSCALED: &str = "ComfyUI, which takes the codes for the weights";
    pub(crate) const OLD_COMFYUI: &str =
        "ComfyUI 0.3.68 to 0.3.76, which takes the codes for the weights";
    pub(crate) const LOST_HEADER: &str = "programs that copy tensors without the header's entries";
    pub(crate) const DUMMY: &str =
        "ComfyUI from 0.3.77 on, which turns the weight into FP8 without a scale";
    pub(crate) const SERVERS: &str =
        "vLLM, SGLang and transformers, which read it as the configuration says";
    pub(crate) const SCALED: &str = "programs that take the numbers as they are";
    pub(crate) const UNEXPECTED: &str = "programs that refuse unexpected keys; ComfyUI logs them";
}
