use std::collections::HashMap;

use super::{Id, Value};
use crate::TensorFileErrorKind as Kind;

/// The problem of a pickle of which a longer piece of the file has to be read.
pub(super) const CUT: &str = "its end is missing";

/// A pickle is a program for a small machine with a stack. Every byte adds at most one value, and no
/// value copies a text that others share, so that memory stays proportional to the file's bytes.
#[derive(Default)]
pub(super) struct Machine<'a> {
    text: &'a [u8],
    at: usize,
    pub(super) values: Vec<Value>,
    pub(super) stack: Vec<Id>,
    /// Lengths of the stack at each mark.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, ..Self::default() }
    }

    /// Returns everything that was built, and the length of the pickle.
    pub(super) fn into_values(self) -> (Vec<Value>, usize) {
        (self.values, self.at)
    }

    /// Runs to the end, and returns the value that is left.
    pub(super) fn run(&mut self) -> Result<Id, Kind> {
        loop {
            let operation = self.take(1)?[0];
            if operation == b'.' {
                return self.pop();
            }
            self.step(operation)?;
        }
    }

    /// Runs one instruction. Comments give its name in Python's `pickletools`.
    fn step(&mut self, operation: u8) -> Result<(), Kind> {
        match operation {
            // PROTO, the version, and FRAME, a length, which change nothing.
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            // MARK, POP, POP_MARK, DUP.
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            // NONE, EMPTY_TUPLE, EMPTY_LIST, EMPTY_DICT, NEWTRUE, NEWFALSE, EMPTY_SET.
            b'N' | b')' | b']' | b'}' | 0x88 | 0x89 | 0x8f => self.push(match operation {
                b')' => Value::Tuple(vec![]),
                b']' => Value::List(vec![]),
                b'}' => Value::Dict(vec![]),
                0x88 | 0x89 => Value::Bool,
                // None and the empty set are of no use here.
                _ => Value::Other,
            }),
            // BININT1, BININT2, BININT, LONG1, LONG4.
            b'K' | b'M' | b'J' | 0x8a | 0x8b => {
                let number = self.number(operation)?;
                self.push(number);
            }
            // BINFLOAT.
            b'G' => {
                let mut number = [0; 8];
                number.copy_from_slice(self.take(8)?);
                self.push(Value::Float(f64::from_be_bytes(number)));
            }
            // BINUNICODE, SHORT_ and BINUNICODE8, SHORT_BINSTRING, BINSTRING, SHORT_BINBYTES, BINBYTES and
            // BINBYTES8, BYTEARRAY8.
            b'X' | 0x8c | 0x8d | b'U' | b'T' | b'C' | b'B' | 0x8e | 0x96 => {
                let text = self.text(operation)?;
                self.push(text);
            }
            // BINPUT, LONG_BINPUT, MEMOIZE.
            b'q' | b'r' | 0x94 => {
                let key = match operation {
                    b'q' => self.length(1)?,
                    b'r' => self.length(4)?,
                    // The number of memories so far.
                    _ => self.memo.len() as u64,
                };
                let top = self.top()?;
                self.memo.insert(key, top);
            }
            // BINGET, LONG_BINGET.
            b'h' | b'j' => {
                let key = self.length(if operation == b'h' { 1 } else { 4 })?;
                let id =
                    *self.memo.get(&key).ok_or_else(|| self.wrong("nothing of that number"))?;
                self.stack.push(id);
            }
            // GLOBAL, STACK_GLOBAL.
            b'c' => {
                let global = self.global_of_lines()?;
                self.stack.push(global);
            }
            0x93 => {
                let [name, module] = [self.pop()?, self.pop()?];
                match (&self.values[module], &self.values[name]) {
                    (Value::Text(_), Value::Text(_)) => self.push(Value::Global { module, name }),
                    _ => return Err(self.wrong("a name that is no text")),
                }
            }
            // TUPLE, TUPLE1 to TUPLE3, LIST, DICT, FROZENSET.
            b't' | 0x85..=0x87 | b'l' | b'd' | 0x91 => self.gather(operation)?,
            // APPEND, APPENDS, SETITEM, SETITEMS, ADDITEMS.
            b'a' | b'e' | b's' | b'u' | 0x90 => self.extend(operation)?,
            // BINPERSID, REDUCE.
            b'Q' => self.persistent()?,
            b'R' => self.call()?,
            // BUILD: attributes are no weights, whatever they are set on.
            b'b' => {
                let state = self.pop()?;
                let top = self.top()?;
                if let Value::Object(object) = &mut self.values[top] {
                    object.state = Some(state);
                }
            }
            // NEWOBJ, NEWOBJ_EX, INST, OBJ, EXT1 to EXT4.
            0x81 | 0x92 | b'i' | b'o' | 0x82..=0x84 => self.instance(operation)?,
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
        // Whole numbers of more than 64 bits are no part of a shape.
        if bytes.len() > 8 {
            return Ok(Value::Other);
        }
        // BININT1 and BININT2 have no sign, all others do.
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
        match (operation, std::str::from_utf8(bytes)) {
            (b'C' | b'B' | 0x8e | 0x96, _) => Ok(Value::Other),
            (_, Ok(text)) => Ok(Value::Text(text.to_owned())),
            // Texts of Python 2 are bytes.
            (b'U' | b'T', Err(_)) => Ok(Value::Other),
            (_, Err(_)) => Err(self.wrong("a text that is not UTF-8")),
        }
    }

    /// Makes a tuple, list or dictionary of values on the stack.
    fn gather(&mut self, operation: u8) -> Result<(), Kind> {
        let items = match operation {
            0x85..=0x87 => {
                let count = usize::from(operation - 0x84);
                let first = self.stack.len().checked_sub(count);
                // Values below a mark belong to a container that is still being filled.
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

    /// Adds values to the container below them.
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
            Value::Object(object) => object.entries.extend(pairs),
            // Such as a set, whose items are of no use here.
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

    /// Returns module and name of a class or function.
    pub(super) fn global(&self, id: Id) -> Option<(&str, &str)> {
        let Value::Global { module, name } = &self.values[id] else { return None };
        match (&self.values[*module], &self.values[*name]) {
            (Value::Text(module), Value::Text(name)) => Some((module, name)),
            _ => None,
        }
    }

    /// Reads a class or function that two lines name.
    pub(super) fn global_of_lines(&mut self) -> Result<Id, Kind> {
        let module = self.line()?;
        let name = self.line()?;
        // Three values for at least three bytes: the instruction and the ends of two lines.
        let first = self.values.len();
        self.values.push(Value::Text(module.to_owned()));
        self.values.push(Value::Text(name.to_owned()));
        self.values.push(Value::Global { module: first, name: first + 1 });
        Ok(first + 2)
    }

    pub(super) fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    /// Returns the place of the last mark, below which nothing is taken one by one.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id, Kind> {
        let top = self.stack.last().filter(|_| self.stack.len() > self.floor());
        top.copied().ok_or_else(|| self.wrong("an empty stack"))
    }

    pub(super) fn pop(&mut self) -> Result<Id, Kind> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    pub(super) fn pop_mark(&mut self) -> Result<Vec<Id>, Kind> {
        let mark = self.marks.pop().ok_or_else(|| self.wrong("no mark"))?;
        Ok(self.stack.split_off(mark))
    }

    pub(super) fn take(&mut self, length: u64) -> Result<&'a [u8], Kind> {
        let rest = &self.text[self.at..];
        let taken = usize::try_from(length).ok().and_then(|length| rest.get(..length));
        let taken = taken.ok_or_else(|| self.wrong(CUT))?;
        self.at += taken.len();
        Ok(taken)
    }

    /// Reads an unsigned number of `bytes` bytes.
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

    pub(super) fn wrong(&self, problem: &'static str) -> Kind {
        Kind::Pickle { problem, offset: self.at as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Pickle;
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
    fn what_would_be_called_is_an_object_with_a_name() {
        for text in [
            &b"cos\nsystem\n(X\x02\x00\x00\x00idtR."[..],
            b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.",
            b"cos\nsystem\n)\x81.",
            b"cos\nsystem\n)}\x92.",
            b"cos\nsystem\n)\x81}b.",
            b"(ios\nsystem\n.",
            b"(cos\nsystem\no.",
        ] {
            let pickle = Pickle::read(text).unwrap();
            assert_eq!(pickle.maker(pickle.root()).as_deref(), Some("os.system"), "{text:?}");
        }
    }

    #[test]
    fn an_object_with_items_is_a_dictionary() {
        let pickle = Pickle::read(b"ca\nMap\n)\x81X\x01\x00\x00\x00kK\x07s.").unwrap();
        let &[(key, value)] = pickle.entries(pickle.root()).unwrap() else { panic!("{pickle:?}") };
        assert_eq!((pickle.text(key), pickle.get(value)), (Some("k"), &Value::Int(7)));
    }

    /// A long text that is named again and again is not copied.
    #[test]
    fn names_that_are_shared_take_no_memory() {
        let long = "m".repeat(1 << 20);
        let mut text = b"\x80\x04X\x00\x00\x10\x00".to_vec();
        text.extend(long.bytes());
        text.extend(b"\x94");
        (0..100_000).for_each(|_| text.extend(b"h\x00h\x00\x93)\x810"));
        text.extend(b"N.");
        assert!(Pickle::read(&text).is_ok());
    }
}
