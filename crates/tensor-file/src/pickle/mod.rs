//! A reader of Python pickles that runs nothing: it builds numbers, texts, lists, dictionaries and
//! tensors; whatever a class or function would have made is an object of which only the name is known.

mod calls;
mod machine;
mod make;

use crate::{Dtype, TensorFileErrorKind as Kind};

use calls::NumpyKind;
pub(crate) use calls::is_tensor_maker;
use machine::Machine;

/// Longest pickle that is read. A tensor takes some 200 bytes of it, a value up to 50 bytes of memory
/// for each of its own.
pub(crate) const PICKLE_LIMIT_BYTES: usize = 16 << 20;

/// Longest part of a name that is shown: several values may share one text, so that what is copied
/// must be short.
const SHOWN_CHARS: usize = 100;

/// Index of a [`Value`] in its [`Pickle`].
pub(crate) type Id = usize;

/// A value that a pickle builds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// Nothing, or nothing that matters here: bytes, sets.
    Other,
    Bool,
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function, by two texts.
    Global {
        module: Id,
        name: Id,
    },
    Storage(Box<Storage>),
    Tensor(Box<View>),
    Object(Box<Object>),
}

/// The result of a class or function that means nothing here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Object {
    /// The class or function, where it has a name.
    maker: Option<Id>,
    /// Items, of a class that behaves as a dictionary.
    entries: Vec<(Id, Id)>,
    /// What was set on it last.
    state: Option<Id>,
}

/// A value of NumPy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Numpy {
    Scalar,
    Array {
        /// `None` where it is told in a way that is not known here.
        shape: Option<Vec<u64>>,
    },
}

/// Memory that tensors lie in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Storage {
    /// Name, a text.
    key: Id,
    /// Its class.
    class: Id,
    pub(crate) element: Element,
}

/// The elements of a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    Number(Dtype),
    /// Plain bytes, whose tensors say what they are.
    Byte,
    Unknown,
}

/// A tensor: a view of a storage.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    storage: Id,
    dtype: Option<Dtype>,
    offset: Id,
    shape: Id,
    strides: Id,
}

/// A [`View`] with everything that it refers to; offset and strides in elements.
#[derive(Debug)]
pub(crate) struct ResolvedView<'a> {
    /// Name of the storage.
    pub(crate) storage: &'a str,
    pub(crate) dtype: Dtype,
    pub(crate) offset: u64,
    pub(crate) shape: Vec<u64>,
    pub(crate) strides: Vec<u64>,
}

/// A pickle that has been read.
#[derive(Debug)]
pub(crate) struct Pickle {
    values: Vec<Value>,
    root: Id,
    /// Length of the pickle.
    pub(crate) bytes: usize,
}

impl Pickle {
    /// Reads the pickle that `text` begins with.
    ///
    /// # Errors
    /// [`Kind::PickleTooLong`] when it does not end within [`PICKLE_LIMIT_BYTES`], [`Kind::Pickle`] for
    /// what is no pickle.
    pub(crate) fn read(text: &[u8]) -> Result<Self, Kind> {
        let is_long = text.len() > PICKLE_LIMIT_BYTES;
        let text = &text[..text.len().min(PICKLE_LIMIT_BYTES)];
        let mut machine = Machine::new(text);
        let root = machine.run().map_err(|kind| match kind {
            // Cut off by the limit, not by the file.
            Kind::Pickle { problem: machine::CUT, .. } if is_long => {
                Kind::PickleTooLong { limit: PICKLE_LIMIT_BYTES as u64 }
            }
            kind => kind,
        })?;
        let (values, bytes) = machine.into_values();
        Ok(Self { values, root, bytes })
    }

    /// Returns the value that the pickle stands for.
    pub(crate) fn root(&self) -> Id {
        self.root
    }

    pub(crate) fn get(&self, id: Id) -> &Value {
        &self.values[id]
    }

    pub(crate) fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the entries of a dictionary, or of an object that behaves as one.
    pub(crate) fn entries(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.get(id) {
            Value::Dict(entries) => Some(entries),
            Value::Object(object) if !object.entries.is_empty() => Some(&object.entries),
            _ => None,
        }
    }

    /// Lists every storage with its name.
    pub(crate) fn storages(&self) -> impl Iterator<Item = (&str, &Storage)> {
        self.values.iter().filter_map(|value| match value {
            Value::Storage(storage) => Some((self.text(storage.key)?, &**storage)),
            _ => None,
        })
    }

    /// Returns the name of the class or function that made an object; `None` for everything else.
    pub(crate) fn maker(&self, id: Id) -> Option<String> {
        match self.get(id) {
            Value::Object(object) => Some(self.name(object.maker?)),
            _ => None,
        }
    }

    /// Lists the classes and functions of objects, some of them more than once, without those of plain
    /// values.
    pub(crate) fn makers(&self) -> impl Iterator<Item = Id> {
        let makers = self.values.iter().filter_map(|value| match value {
            Value::Object(object) => object.maker,
            _ => None,
        });
        makers.filter(|&maker| match self.get(maker) {
            Value::Global { module, name } => {
                let text = |&id: &Id| shown(self.text(id).unwrap_or_default());
                !calls::is_plain(text(module), text(name))
            }
            _ => true,
        })
    }

    /// Returns `module.name` of a class or function, cut where it is absurdly long.
    pub(crate) fn name(&self, global: Id) -> String {
        let Value::Global { module, name } = self.get(global) else {
            return "a class without a name".to_owned();
        };
        let [module, name] = [module, name].map(|&id| shown(self.text(id).unwrap_or_default()));
        format!("{module}.{name}")
    }

    /// Returns which value of NumPy an object is; `None` for everything else.
    pub(crate) fn numpy(&self, id: Id) -> Option<Numpy> {
        let Value::Object(object) = self.get(id) else { return None };
        let Value::Global { module, name } = self.get(object.maker?) else { return None };
        match calls::numpy_kind(self.text(*module)?, self.text(*name)?)? {
            NumpyKind::Scalar => Some(Numpy::Scalar),
            NumpyKind::Array => Some(Numpy::Array { shape: self.array_shape(object) }),
        }
    }

    /// Returns the shape of an array, the second part of what NumPy sets on it.
    fn array_shape(&self, object: &Object) -> Option<Vec<u64>> {
        match self.get(object.state?) {
            Value::Tuple(parts) => self.naturals(*parts.get(1)?),
            _ => None,
        }
    }

    /// Looks up everything that a tensor refers to.
    ///
    /// # Errors
    /// [`Kind::UnknownDtype`] for numbers that are not known here, [`Kind::Pickle`] where something is
    /// not what it should be.
    pub(crate) fn resolve(&self, view: &View) -> Result<ResolvedView<'_>, Kind> {
        let damaged = || Kind::Pickle { problem: "a tensor of another form", offset: 0 };
        let Value::Storage(storage) = self.get(view.storage) else { return Err(damaged()) };
        let dtype = match (view.dtype, storage.element) {
            (Some(dtype), _) | (None, Element::Number(dtype)) => dtype,
            // Bytes say nothing of their numbers; a tensor of them that does not either is damaged.
            (None, Element::Byte) => return Err(damaged()),
            (None, Element::Unknown) => {
                return Err(Kind::UnknownDtype { found: self.name(storage.class) });
            }
        };
        let shape = self.naturals(view.shape).ok_or_else(damaged)?;
        let strides = self.naturals(view.strides).ok_or_else(damaged)?;
        let offset = self.natural(view.offset).ok_or_else(damaged)?;
        let storage = self.text(storage.key).ok_or_else(damaged)?;
        match shape.len() == strides.len() {
            true => Ok(ResolvedView { storage, dtype, offset, shape, strides }),
            false => Err(damaged()),
        }
    }

    fn natural(&self, id: Id) -> Option<u64> {
        match self.get(id) {
            Value::Int(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    fn naturals(&self, id: Id) -> Option<Vec<u64>> {
        match self.get(id) {
            Value::Tuple(items) | Value::List(items) if items.len() <= crate::RANK_LIMIT => {
                items.iter().map(|&item| self.natural(item)).collect()
            }
            _ => None,
        }
    }
}

/// Returns the beginning of a text.
pub(crate) fn shown(text: &str) -> &str {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}
