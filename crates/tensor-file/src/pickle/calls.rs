//! The few classes and functions whose meaning is known.

use super::Element;
use crate::Dtype;

/// The result of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// An empty dictionary, or one of pairs.
    Dictionary,
    /// An empty dictionary that makes up what it lacks.
    DefaultDictionary,
    /// Its first argument, under another class.
    Same,
    /// A tensor: storage, offset, shape, strides, two more, and what else its numbers mean.
    Tensor,
    /// A tensor that says what its numbers are: storage, offset, shape, strides, two more, dtype, what else they mean.
    TypedTensor,
    /// A call by its name and arguments, whose result gets another class.
    Retyped,
}

impl Call {
    pub(super) fn named(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::Dictionary,
            ("collections", "defaultdict") => Self::DefaultDictionary,
            ("torch", "Size") => Self::Same,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Self::Same,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::Tensor,
            ("torch._utils", "_rebuild_tensor_v3") => Self::TypedTensor,
            ("torch._tensor", "_rebuild_from_type" | "_rebuild_from_type_v2") => Self::Retyped,
            _ => return None,
        })
    }
}

/// Tells whether objects of this class or function are plain values that need no remark: numbers and
/// arrays of NumPy, paths, dates, sets.
pub(super) fn is_plain(module: &str, name: &str) -> bool {
    match module.split('.').next().unwrap_or_default() {
        "numpy" => matches!(name, "scalar" | "_reconstruct" | "_frombuffer" | "dtype" | "ndarray"),
        "builtins" | "__builtin__" => {
            matches!(name, "set" | "frozenset" | "complex" | "bytearray" | "slice" | "range")
        }
        "collections" => matches!(name, "OrderedDict" | "defaultdict" | "Counter" | "deque"),
        "torch" => (module, name) == ("torch", "device"),
        "_codecs" => name == "encode",
        "argparse" => name == "Namespace",
        "pathlib" => name.ends_with("Path"),
        "datetime" => matches!(name, "date" | "datetime" | "time" | "timedelta" | "timezone"),
        _ => false,
    }
}

/// What a function of NumPy makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumpyKind {
    Scalar,
    Array,
}

/// Returns what a function of NumPy makes; `None` for every other function.
pub(super) fn numpy_kind(module: &str, name: &str) -> Option<NumpyKind> {
    match name {
        _ if module.split('.').next() != Some("numpy") => None,
        "scalar" => Some(NumpyKind::Scalar),
        "_reconstruct" | "_frombuffer" => Some(NumpyKind::Array),
        _ => None,
    }
}

/// Tells whether an object of this maker is a tensor of a kind that is not read, such as a sparse one.
pub(crate) fn is_tensor_maker(name: &str) -> bool {
    let Some((module, name)) = name.rsplit_once('.') else { return false };
    let is_torch = module.split('.').next().is_some_and(|first| first.starts_with("torch"));
    is_torch && name.starts_with("_rebuild")
}

/// Returns what a storage of a class is made of.
pub(super) fn element(module: &str, name: &str) -> Element {
    // The class of an untyped storage says nothing about its numbers; the tensor does.
    if name == "UntypedStorage" {
        return Element::Byte;
    }
    let dtype = match name.strip_suffix("Storage").filter(|_| module == "torch") {
        Some("Double") => Dtype::F64,
        Some("Float") => Dtype::F32,
        Some("Half") => Dtype::F16,
        Some("BFloat16") => Dtype::BF16,
        Some("Long") => Dtype::I64,
        Some("Int") => Dtype::I32,
        Some("Short") => Dtype::I16,
        Some("Char") => Dtype::I8,
        Some("Byte") => Dtype::U8,
        Some("Bool") => Dtype::Bool,
        Some("ComplexFloat") => Dtype::C64,
        _ => return Element::Unknown,
    };
    Element::Number(dtype)
}

/// Returns the dtype of this name in module `torch`.
pub(super) fn dtype_named(name: &str) -> Option<Dtype> {
    Some(match name {
        "float64" => Dtype::F64,
        "float32" => Dtype::F32,
        "float16" => Dtype::F16,
        "bfloat16" => Dtype::BF16,
        "float8_e4m3fn" => Dtype::F8E4M3,
        "float8_e5m2" => Dtype::F8E5M2,
        "float8_e4m3fnuz" => Dtype::F8E4M3Fnuz,
        "float8_e5m2fnuz" => Dtype::F8E5M2Fnuz,
        "float8_e8m0fnu" => Dtype::F8E8M0,
        "uint64" => Dtype::U64,
        "uint32" => Dtype::U32,
        "uint16" => Dtype::U16,
        "uint8" => Dtype::U8,
        "int64" => Dtype::I64,
        "int32" => Dtype::I32,
        "int16" => Dtype::I16,
        "int8" => Dtype::I8,
        "bool" => Dtype::Bool,
        _ => return None,
    })
}
