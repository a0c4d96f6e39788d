//! Tensors, dictionaries and objects out of what a pickle would call.

use super::calls::{Call, dtype_named, element};
use super::machine::Machine;
use super::{Id, Object, Storage, Value, View};
use crate::TensorFileErrorKind as Kind;

/// Most arguments of a call that has a meaning.
// The longest, of `_rebuild_tensor_v3`, has eight that count; a tuple of millions is not copied.
const MOST_ARGUMENTS: usize = 8;

impl Machine<'_> {
    /// Takes a reference to something outside the pickle: `('storage', class, key, place, elements)`,
    /// or, in old files, a class with its source text. Any other is an object.
    pub(super) fn persistent(&mut self) -> Result<(), Kind> {
        let top = self.pop()?;
        let Value::Tuple(items) = &self.values[top] else {
            self.push_object(None);
            return Ok(());
        };
        let is_text = |id: Id| matches!(self.values[id], Value::Text(_));
        let is_kind =
            |id: Id, kind: &str| matches!(&self.values[id], Value::Text(text) if text == kind);
        match items[..] {
            [kind, class, key, _, _, ..] if is_kind(kind, "storage") && is_text(key) => {
                let (module, name) =
                    self.global(class).ok_or_else(|| self.wrong("a storage without a class"))?;
                let element = element(module, name);
                self.push(Value::Storage(Box::new(Storage { key, class, element })));
            }
            [kind, class, ..] if is_kind(kind, "module") => self.stack.push(class),
            _ => self.push_object(None),
        }
        Ok(())
    }

    /// Pushes the result of a call whose meaning is known, else an object; nothing is ever run.
    pub(super) fn call(&mut self) -> Result<(), Kind> {
        let [arguments, callee] = [self.pop()?, self.pop()?];
        // A result of something unknown may be called or stand for arguments; that gives another
        // unknown object.
        let is_unknown =
            |id: Id| matches!(self.values[id], Value::Other | Value::Float(_) | Value::Object(_));
        let items = match &self.values[arguments] {
            Value::Tuple(items) => first_arguments(items),
            _ if is_unknown(arguments) => vec![],
            _ => return Err(self.wrong("arguments that are no tuple")),
        };
        let call = match self.global(callee) {
            Some((module, name)) => Call::named(module, name),
            None if is_unknown(callee) => None,
            None => return Err(self.wrong("a call of what is no function")),
        };
        match call.and_then(|call| self.made(call, &items)) {
            Some(CallResult::New(value)) => self.push(value),
            Some(CallResult::Existing(id)) => self.stack.push(id),
            None => self.push_object(Some(callee)),
        }
        Ok(())
    }

    /// Returns the result of a call; `None` for arguments of another form than in the files of
    /// PyTorch.
    fn made(&mut self, call: Call, arguments: &[Id]) -> Option<CallResult> {
        Some(CallResult::New(match (call, arguments) {
            (Call::Dictionary, []) | (Call::DefaultDictionary, [] | [_]) => Value::Dict(vec![]),
            (Call::Dictionary, &[list]) => Value::Dict(self.take_pairs(list)?),
            (Call::Same, &[same, ..]) => return Some(CallResult::Existing(same)),
            // Whatever is said behind the usual arguments changes the numbers: their sign, or that of their
            // imaginary parts.
            (Call::Tensor, &[_, _, _, _, _, _, more, ..])
            | (Call::TypedTensor, &[_, _, _, _, _, _, _, more, ..])
                if !self.is_empty(more) =>
            {
                return None;
            }
            (Call::Tensor, &[storage, offset, shape, strides, ..]) => {
                Value::Tensor(Box::new(View { storage, dtype: None, offset, shape, strides }))
            }
            (Call::TypedTensor, &[storage, offset, shape, strides, _, _, dtype, ..]) => {
                let dtype = match self.global(dtype)? {
                    ("torch", name) => Some(dtype_named(name)?),
                    _ => return None,
                };
                Value::Tensor(Box::new(View { storage, dtype, offset, shape, strides }))
            }
            (Call::Retyped, &[function, _, arguments, ..]) => {
                let (module, name) = self.global(function)?;
                // A second retyping is refused: a chain of them could be as deep as the file is long.
                let call = Call::named(module, name).filter(|call| *call != Call::Retyped)?;
                let Value::Tuple(items) = &self.values[arguments] else { return None };
                return self.made(call, &first_arguments(items));
            }
            _ => return None,
        }))
    }

    fn is_empty(&self, id: Id) -> bool {
        match &self.values[id] {
            Value::Dict(entries) => entries.is_empty(),
            value => *value == Value::Other,
        }
    }

    /// Takes the pairs out of a list and empties it, so that many calls with one list cost neither
    /// memory nor time.
    fn take_pairs(&mut self, list: Id) -> Option<Vec<(Id, Id)>> {
        let Value::List(items) = &mut self.values[list] else { return None };
        let items = std::mem::take(items);
        let pair = |&id: &Id| match &self.values[id] {
            Value::Tuple(items) | Value::List(items) if items.len() == 2 => {
                Some((items[0], items[1]))
            }
            _ => None,
        };
        items.iter().map(pair).collect()
    }

    /// Runs an instruction that makes an object of a class.
    pub(super) fn instance(&mut self, operation: u8) -> Result<(), Kind> {
        let class = match operation {
            b'i' => {
                let class = self.global_of_lines()?;
                self.pop_mark()?;
                Some(class)
            }
            b'o' => self.pop_mark()?.first().copied(),
            // Numbers of a registry that only the writer has.
            0x82..=0x84 => {
                self.take(1 << (operation - 0x82))?;
                None
            }
            _ => {
                let arguments = if operation == 0x92 { 2 } else { 1 };
                for _ in 0..arguments {
                    self.pop()?;
                }
                Some(self.pop()?)
            }
        };
        self.push_object(class);
        Ok(())
    }

    fn push_object(&mut self, maker: Option<Id>) {
        let maker = maker.filter(|&maker| self.global(maker).is_some());
        self.push(Value::Object(Box::new(Object { maker, entries: vec![], state: None })));
    }
}

/// The result of a call.
enum CallResult {
    New(Value),
    /// A value that is there already.
    Existing(Id),
}

fn first_arguments(items: &[Id]) -> Vec<Id> {
    items[..items.len().min(MOST_ARGUMENTS)].to_vec()
}
