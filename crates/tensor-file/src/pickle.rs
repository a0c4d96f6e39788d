//! A reader of Python pickles that runs nothing: it builds numbers, texts, lists and dictionaries, and
//! of everything that would be called remembers that it is a tensor, or refuses it by its name.
//!
//! A pickle is a program for a small machine with a stack. Every instruction adds at most one value,
//! so memory stays proportional to the file's bytes.

use std::collections::HashMap;

use crate::{Dtype, TensorFileErrorKind as Kind};

/// Longest pickle that is read. A tensor takes some 200 bytes of it, a value up to 50 bytes of memory
/// for each of its own.
pub(crate) const PICKLE_LIMIT_BYTES: usize = 16 << 20;

const CUT: &str = "its end is missing";

/// Index of a [`Value`] in its [`Pickle`].
pub(crate) type Id = usize;

/// What a pickle builds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// Nothing, or nothing that matters here: floating-point numbers, bytes, sets.
    Other,
    Bool,
    Int(i64),
    Text(String),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// `module.name`, which nothing is done with but what is listed here.
    Global(String),
    Storage(Box<Storage>),
    Tensor(Box<View>),
}

/// Memory that tensors lie in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Storage {
    pub(crate) key: String,
    /// Nothing for one of plain bytes.
    pub(crate) dtype: Option<Dtype>,
    pub(crate) elements: u64,
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
    pub(crate) storage: &'a Storage,
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
    /// [`Kind::PickleTooLong`] when it does not end within [`PICKLE_LIMIT_BYTES`],
    /// [`Kind::PickleCode`] for what calls anything, [`Kind::Pickle`] for what is no pickle.
    pub(crate) fn read(text: &[u8]) -> Result<Self, Kind> {
        let is_long = text.len() > PICKLE_LIMIT_BYTES;
        let text = &text[..text.len().min(PICKLE_LIMIT_BYTES)];
        let mut machine = Machine { text, ..Machine::default() };
        let root = machine.run().map_err(|kind| match kind {
            Kind::Pickle { problem: CUT, .. } if is_long => {
                Kind::PickleTooLong { limit: PICKLE_LIMIT_BYTES as u64 }
            }
            kind => kind,
        })?;
        Ok(Self { values: machine.values, root, bytes: machine.at })
    }

    /// The value that the pickle stands for.
    pub(crate) fn root(&self) -> &Value {
        &self.values[self.root]
    }

    pub(crate) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.values.iter().filter_map(|value| match value {
            Value::Storage(storage) => Some(&**storage),
            _ => None,
        })
    }

    pub(crate) fn get(&self, id: Id) -> &Value {
        &self.values[id]
    }

    /// Everything that a tensor refers to; `None` where something is not what it should be.
    pub(crate) fn resolve(&self, view: &View) -> Option<ResolvedView<'_>> {
        let Value::Storage(storage) = self.get(view.storage) else { return None };
        let shape = self.naturals(view.shape)?;
        let strides = self.naturals(view.strides)?;
        let offset = self.natural(view.offset)?;
        let dtype = view.dtype.or(storage.dtype)?;
        let is_even = shape.len() == strides.len();
        is_even.then_some(ResolvedView { storage, dtype, offset, shape, strides })
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

#[derive(Default)]
struct Machine<'a> {
    text: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Lengths of the stack at each mark.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Id, Kind> {
        loop {
            let operation = self.take(1)?[0];
            if operation == b'.' {
                return self.pop();
            }
            self.step(operation)?;
        }
    }

    fn step(&mut self, operation: u8) -> Result<(), Kind> {
        match operation {
            // The version, and the length of a frame, which changes nothing.
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' | b')' | b']' | b'}' | 0x88 | 0x89 | 0x8f => self.push(match operation {
                b')' => Value::Tuple(vec![]),
                b']' => Value::List(vec![]),
                b'}' => Value::Dict(vec![]),
                0x88 | 0x89 => Value::Bool,
                _ => Value::Other,
            }),
            b'K' | b'M' | b'J' | 0x8a | 0x8b => {
                let number = self.number(operation)?;
                self.push(number);
            }
            b'G' => {
                self.take(8)?;
                self.push(Value::Other);
            }
            b'X' | 0x8c | 0x8d | b'U' | b'T' | b'C' | b'B' | 0x8e => {
                let text = self.text(operation)?;
                self.push(text);
            }
            b'q' | b'r' | 0x94 => {
                let key = match operation {
                    b'q' => self.length(1)?,
                    b'r' => self.length(4)?,
                    _ => self.memo.len() as u64,
                };
                let top = self.top()?;
                self.memo.insert(key, top);
            }
            b'h' | b'j' => {
                let key = self.length(if operation == b'h' { 1 } else { 4 })?;
                let id =
                    *self.memo.get(&key).ok_or_else(|| self.wrong("nothing of that number"))?;
                self.stack.push(id);
            }
            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                self.push(Value::Global(format!("{module}.{name}")));
            }
            0x93 => {
                let [module, name] = [self.pop()?, self.pop()?];
                match (&self.values[name], &self.values[module]) {
                    (Value::Text(module), Value::Text(name)) => {
                        let name = format!("{module}.{name}");
                        self.push(Value::Global(name));
                    }
                    _ => return Err(self.wrong("a name that is no text")),
                }
            }
            b't' | 0x85..=0x87 | b'l' | b'd' | 0x91 => self.gather(operation)?,
            b'a' | b'e' | b's' | b'u' | 0x90 => self.extend(operation)?,
            b'Q' => self.persistent()?,
            b'R' => self.call()?,
            b'b' => self.set_state()?,
            b'P' | b'i' | b'o' | 0x81 | 0x92 | 0x82..=0x84 => return Err(self.code(operation)),
            _ => return Err(self.wrong("an instruction that PyTorch does not write")),
        }
        Ok(())
    }

    fn number(&mut self, operation: u8) -> Result<Value, Kind> {
        let length = match operation {
            b'K' => 1,
            b'M' => 2,
            b'J' => 4,
            0x8a => self.length(1)?,
            _ => self.length(4)?,
        };
        let bytes = self.take(length)?;
        if bytes.len() > 8 {
            return Ok(Value::Other);
        }
        let is_signed = !matches!(operation, b'K' | b'M');
        let is_negative = is_signed && bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if is_negative { 0xff } else { 0 }; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        Ok(Value::Int(i64::from_le_bytes(wide)))
    }

    fn text(&mut self, operation: u8) -> Result<Value, Kind> {
        let length = match operation {
            0x8c | b'U' | b'C' => self.length(1)?,
            b'X' | b'T' | b'B' => self.length(4)?,
            _ => self.length(8)?,
        };
        let bytes = self.take(length)?;
        match operation {
            b'C' | b'B' | 0x8e => Ok(Value::Other),
            _ => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Value::Text(text.to_owned())),
                Err(_) => Err(self.wrong("a text that is not UTF-8")),
            },
        }
    }

    /// A tuple, list or dictionary of what is on the stack.
    fn gather(&mut self, operation: u8) -> Result<(), Kind> {
        let items = match operation {
            0x85..=0x87 => {
                let count = usize::from(operation - 0x84);
                let first = self.stack.len().checked_sub(count);
                let first = first.filter(|&first| first >= self.floor());
                self.stack.split_off(first.ok_or_else(|| self.wrong("an empty stack"))?)
            }
            _ => self.pop_mark()?,
        };
        let value = match operation {
            b'l' => Value::List(items),
            b'd' => Value::Dict(self.pairs(items)?),
            0x91 => Value::Other,
            _ => Value::Tuple(items),
        };
        self.push(value);
        Ok(())
    }

    /// Adds to the container below.
    fn extend(&mut self, operation: u8) -> Result<(), Kind> {
        let items = match operation {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_mark()?,
        };
        let top = self.top()?;
        let is_dict = matches!(operation, b's' | b'u');
        let pairs = if is_dict { self.pairs(items.clone())? } else { vec![] };
        match &mut self.values[top] {
            Value::List(list) if !is_dict => list.extend(items),
            Value::Dict(dict) if is_dict => dict.extend(pairs),
            Value::Other => {}
            _ => return Err(self.wrong("items for what holds none")),
        }
        Ok(())
    }

    fn pairs(&self, items: Vec<Id>) -> Result<Vec<(Id, Id)>, Kind> {
        let (pairs, rest) = items.as_chunks::<2>();
        match rest {
            [] => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
            _ => Err(self.wrong("a key without a value")),
        }
    }

    /// `('storage', class, key, place, elements)`.
    fn persistent(&mut self) -> Result<(), Kind> {
        let top = self.pop()?;
        let Value::Tuple(items) = &self.values[top] else {
            return Err(self.wrong("a storage that is no tuple"));
        };
        let items: Vec<&Value> = items.iter().map(|&id| &self.values[id]).collect();
        let storage = match items[..] {
            [
                Value::Text(what),
                Value::Global(class),
                Value::Text(key),
                _,
                Value::Int(count),
                ..,
            ] if what == "storage" && *count >= 0 => {
                let dtype = storage_dtype(class);
                if dtype.is_none() && !class.ends_with(".UntypedStorage") {
                    return Err(Kind::UnknownDtype { found: class.clone() });
                }
                let elements = count.unsigned_abs();
                Value::Storage(Box::new(Storage { key: key.clone(), dtype, elements }))
            }
            _ => return Err(self.wrong("a storage of another form")),
        };
        self.push(storage);
        Ok(())
    }

    /// The few calls whose meaning is known; nothing is ever run.
    fn call(&mut self) -> Result<(), Kind> {
        let [arguments, callee] = [self.pop()?, self.pop()?];
        let Value::Global(name) = &self.values[callee] else {
            return Err(self.wrong("a call of what is no function"));
        };
        let Value::Tuple(items) = &self.values[arguments] else {
            return Err(self.wrong("arguments that are no tuple"));
        };
        // The longest list of arguments that has a meaning.
        const MOST: usize = 8;
        let (name, items) = (name.clone(), items[..items.len().min(MOST)].to_vec());
        let result = match (name.as_str(), &items[..]) {
            ("collections.OrderedDict", []) => Value::Dict(vec![]),
            // A list is taken, not copied: many calls for one list would fill the memory.
            ("collections.OrderedDict", &[list]) => {
                match std::mem::replace(&mut self.values[list], Value::Other) {
                    Value::List(list) => Value::Dict(self.pairs_of_tuples(&list)?),
                    _ => return Err(self.wrong("a dictionary of another form")),
                }
            }
            (
                "torch.Size"
                | "torch._utils._rebuild_parameter"
                | "torch._utils._rebuild_parameter_with_state",
                &[same, ..],
            ) => {
                self.stack.push(same);
                return Ok(());
            }
            ("torch._utils._rebuild_tensor_v2", &[storage, offset, shape, strides, ..]) => {
                Value::Tensor(Box::new(View { storage, dtype: None, offset, shape, strides }))
            }
            (
                "torch._utils._rebuild_tensor_v3",
                &[storage, offset, shape, strides, _, _, dtype, ..],
            ) => {
                let dtype = match &self.values[dtype] {
                    Value::Global(name) => dtype_of(name),
                    _ => None,
                };
                let dtype = Some(dtype.ok_or_else(|| self.wrong("a dtype that is not known"))?);
                Value::Tensor(Box::new(View { storage, dtype, offset, shape, strides }))
            }
            _ => return Err(Kind::PickleCode { call: name }),
        };
        self.push(result);
        Ok(())
    }

    fn pairs_of_tuples(&self, list: &[Id]) -> Result<Vec<(Id, Id)>, Kind> {
        let pair = |&id: &Id| match &self.values[id] {
            Value::Tuple(items) | Value::List(items) if items.len() == 2 => {
                Ok((items[0], items[1]))
            }
            _ => Err(self.wrong("a pair of another form")),
        };
        list.iter().map(pair).collect()
    }

    /// A dictionary or a tensor may carry attributes, which are not weights.
    fn set_state(&mut self) -> Result<(), Kind> {
        self.pop()?;
        let top = self.top()?;
        match &self.values[top] {
            Value::Dict(_) | Value::Tensor(_) | Value::Other => Ok(()),
            Value::Global(name) => Err(Kind::PickleCode { call: name.clone() }),
            _ => Err(self.wrong("attributes for what has none")),
        }
    }

    /// The refusal of an instruction that makes objects, with the class where one is at hand.
    fn code(&mut self, operation: u8) -> Kind {
        if operation == b'i' {
            return match (self.line(), self.line()) {
                (Ok(module), Ok(name)) => Kind::PickleCode { call: format!("{module}.{name}") },
                _ => self.wrong("a class without a name"),
            };
        }
        let class = self.stack.iter().rev().find_map(|&id| match &self.values[id] {
            Value::Global(name) => Some(name.clone()),
            _ => None,
        });
        Kind::PickleCode { call: class.unwrap_or_else(|| "an object of an unknown class".into()) }
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    /// Nothing below the last mark is taken one by one.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id, Kind> {
        let top = self.stack.last().filter(|_| self.stack.len() > self.floor());
        top.copied().ok_or_else(|| self.wrong("an empty stack"))
    }

    fn pop(&mut self) -> Result<Id, Kind> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, Kind> {
        let mark = self.marks.pop().ok_or_else(|| self.wrong("no mark"))?;
        Ok(self.stack.split_off(mark))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Kind> {
        let rest = &self.text[self.at..];
        let taken = usize::try_from(length).ok().and_then(|length| rest.get(..length));
        let taken = taken.ok_or_else(|| self.wrong(CUT))?;
        self.at += taken.len();
        Ok(taken)
    }

    /// An unsigned number of so many bytes.
    fn length(&mut self, bytes: u64) -> Result<u64, Kind> {
        let mut wide = [0; 8];
        let bytes = self.take(bytes)?;
        wide[..bytes.len()].copy_from_slice(bytes);
        Ok(u64::from_le_bytes(wide))
    }

    fn line(&mut self) -> Result<&'a str, Kind> {
        let rest = &self.text[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\n');
        let end = end.ok_or_else(|| self.wrong(CUT))?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|_| self.wrong("a name that is not UTF-8"))
    }

    fn wrong(&self, problem: &'static str) -> Kind {
        Kind::Pickle { problem, offset: self.at as u64 }
    }
}

fn storage_dtype(class: &str) -> Option<Dtype> {
    Some(match class.strip_prefix("torch.")?.strip_suffix("Storage")? {
        "Double" => Dtype::F64,
        "Float" => Dtype::F32,
        "Half" => Dtype::F16,
        "BFloat16" => Dtype::BF16,
        "Long" => Dtype::I64,
        "Int" => Dtype::I32,
        "Short" => Dtype::I16,
        "Char" => Dtype::I8,
        "Byte" => Dtype::U8,
        "Bool" => Dtype::Bool,
        "ComplexFloat" => Dtype::C64,
        _ => return None,
    })
}

fn dtype_of(name: &str) -> Option<Dtype> {
    Some(match name.strip_prefix("torch.")? {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Instructions more often than chance would have them.
        #[test]
        fn no_text_makes_it_panic(
            text in prop::collection::vec(
                prop_oneof![
                    any::<u8>(),
                    prop::sample::select(&b"()]}N.012KMJXUqhcRbQPiotldaesu\x80\x81\x85\x86\x87\x88\x8a\x8c\x93\x94\x95\n\0\x01"[..])
                ],
                0..200,
            )
        ) {
            if let Ok(pickle) = Pickle::read(&text) {
                prop_assert!(pickle.values.len() <= text.len() && pickle.bytes <= text.len());
            }
        }
    }

    #[test]
    fn what_would_be_called_is_named() {
        for text in [
            &b"cos\nsystem\n(X\x02\x00\x00\x00idtR."[..],
            b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.",
            b"cos\nsystem\n)\x81.",
            b"cos\nsystem\n}b.",
            b"(ios\nsystem\n.",
            b"(cos\nsystem\no.",
        ] {
            match Pickle::read(text) {
                Err(Kind::PickleCode { call }) => assert_eq!(call, "os.system"),
                other => panic!("{other:?}"),
            }
        }
    }
}
