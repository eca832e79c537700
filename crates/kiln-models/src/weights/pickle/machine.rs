//! As much of Python's stack machine as names and numbers need. Nothing is executed.
//!
//! <https://github.com/python/cpython/blob/main/Lib/pickletools.py>

use std::collections::HashMap;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use burn::store::pytorch_reader::MAX_TENSOR_SIZE;

use super::LONGEST;

/// Operations of one pickle: about a hundred thousand tensors take so many.
const STEPS: usize = 1 << 22;

/// Deepest tuple that is kept.
const DEEPEST: u8 = 8;

/// What the machine knows of a Python value.
#[derive(Clone)]
enum Value {
    Mark,
    Number(i128),
    Text(Rc<str>),
    /// A class or function.
    Name(Rc<str>),
    Tuple(Rc<[Value]>, u8),
    /// An array of so many numbers of a class.
    Storage(Rc<str>, i128),
    Other,
}

pub(super) struct Machine {
    stack: Vec<Value>,
    memo: HashMap<u32, Value>,
    /// Bytes that the largest storage may have.
    most: u64,
}

fn broken() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

impl Machine {
    pub(super) fn new(most: u64) -> Self {
        Self { stack: Vec::new(), memo: HashMap::new(), most }
    }

    /// Runs one pickle to its end, or to the first tensor that is wrong: its name, and how.
    ///
    /// Fails where it can't go on.
    pub(super) fn run(&mut self, input: &mut dyn BufRead) -> io::Result<Option<(String, String)>> {
        for _ in 0..STEPS {
            let [code] = array(input)?;
            match code {
                b'.' => return Ok(None),
                b'R' => {
                    let (arguments, function) = (self.pop()?, self.pop()?);
                    if let Some(reason) = self.wrong(&function, &arguments) {
                        return Ok(Some((self.name(), reason)));
                    }
                    self.stack.push(Value::Other);
                }
                _ => self.step(code, input)?,
            }
        }
        Err(io::Error::other(format!("it has more than {STEPS} operations")))
    }

    /// Any other operation.
    fn step(&mut self, code: u8, input: &mut dyn BufRead) -> io::Result<()> {
        let value = match code {
            0x8a | 0x8c | b'U' | b'C' => payload(code, 1, input)?,
            0x8b | b'X' | b'T' | b'B' => payload(code, 4, input)?,
            0x8d | 0x8e | 0x96 => payload(code, 8, input)?,
            0x80 => return array::<1>(input).map(drop), // PROTO
            0x95 => return array::<8>(input).map(drop), // FRAME
            b'(' => Value::Mark,
            b')' => tuple(Vec::new()),
            b't' => tuple(self.pop_to_mark()?),
            0x85..=0x87 => {
                let rest = self.stack.len().checked_sub(usize::from(code - 0x84));
                tuple(self.stack.split_off(rest.ok_or_else(broken)?))
            }
            b'N' | b']' | b'}' | 0x88 | 0x89 | 0x8f => Value::Other,
            b'l' | b'd' | 0x91 => self.pop_to_mark().map(|_| Value::Other)?,
            b'J' => Value::Number(i32::from_le_bytes(array(input)?).into()),
            b'K' => Value::Number(u8::from_le_bytes(array(input)?).into()),
            b'M' => Value::Number(u16::from_le_bytes(array(input)?).into()),
            b'I' | b'L' => {
                let line = line(input)?;
                line.trim_end_matches('L').parse().map_or(Value::Other, Value::Number)
            }
            b'F' => line(input).map(|_| Value::Other)?,
            b'G' => array::<8>(input).map(|_| Value::Other)?,
            b'V' => Value::Text(line(input)?.into()),
            b'c' => Value::Name(format!("{} {}", line(input)?, line(input)?).into()),
            0x93 => match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => {
                    Value::Name(format!("{module} {name}").into())
                }
                _ => return Err(broken()),
            },
            b'q' => return self.put(u8::from_le_bytes(array(input)?).into()),
            b'r' => return self.put(u32::from_le_bytes(array(input)?)),
            0x94 => return self.put(self.memo.len() as u32),
            b'p' => return self.put(line(input)?.parse().map_err(|_| broken())?),
            b'h' => self.get(u8::from_le_bytes(array(input)?).into())?,
            b'j' => self.get(u32::from_le_bytes(array(input)?))?,
            b'g' => self.get(line(input)?.parse().map_err(|_| broken())?)?,
            b'Q' => storage(&self.pop()?),
            b'P' => line(input).map(|_| Value::Other)?,
            0x81 => self.pop().and_then(|_| self.pop()).map(|_| Value::Other)?,
            0x92 => {
                self.pop()?;
                self.pop().and_then(|_| self.pop()).map(|_| Value::Other)?
            }
            b'2' => self.stack.last().cloned().ok_or_else(broken)?,
            b'0' | b'a' | b'b' => return self.pop().map(drop),
            b's' => return self.pop().and_then(|_| self.pop()).map(drop),
            b'1' | b'u' | b'e' | 0x90 => return self.pop_to_mark().map(drop),
            _ => return Err(io::Error::other(format!("operation {code:#04x} is unknown"))),
        };
        self.stack.push(value);
        Ok(())
    }

    fn pop(&mut self) -> io::Result<Value> {
        self.stack.pop().ok_or_else(broken)
    }

    fn pop_to_mark(&mut self) -> io::Result<Vec<Value>> {
        let mark = self.stack.iter().rposition(|value| matches!(value, Value::Mark));
        let above = self.stack.split_off(mark.ok_or_else(broken)? + 1);
        self.stack.pop();
        Ok(above)
    }

    fn put(&mut self, key: u32) -> io::Result<()> {
        let value = self.stack.last().cloned().ok_or_else(broken)?;
        self.memo.insert(key, value);
        Ok(())
    }

    fn get(&self, key: u32) -> io::Result<Value> {
        self.memo.get(&key).cloned().ok_or_else(broken)
    }

    /// The path of the value that comes next: the key that each open table waits to fill.
    fn name(&self) -> String {
        let before_mark = |at: usize| match self.stack.get(at.checked_sub(2)?)? {
            Value::Text(key) => Some(&**key),
            _ => None,
        };
        let marks = (0..self.stack.len()).filter(|&at| matches!(self.stack[at], Value::Mark));
        let last = match self.stack.last() {
            Some(Value::Text(key)) => Some(&**key),
            _ => None,
        };
        marks.filter_map(before_mark).chain(last).collect::<Vec<_>>().join(".")
    }

    /// What is wrong with the tensor that `function` would build; nothing for other functions.
    fn wrong(&self, function: &Value, arguments: &Value) -> Option<String> {
        let Value::Name(function) = function else { return None };
        if &**function == "torch._tensor _rebuild_from_type_v2" {
            // It calls its first argument with its third.
            let Value::Tuple(inner, _) = arguments else { return Some(unbuilt()) };
            let [function, _, arguments, ..] = &inner[..] else { return Some(unbuilt()) };
            return self.wrong(function, arguments);
        }
        if !function.starts_with("torch._utils _rebuild_tensor") {
            return None;
        }
        let Value::Tuple(arguments, _) = arguments else { return Some(unbuilt()) };
        let [Value::Storage(class, elements), Value::Number(offset), shape, strides, ..] =
            &arguments[..]
        else {
            return Some(unbuilt());
        };
        let (Some(shape), Some(strides)) = (numbers(shape), numbers(strides)) else {
            return Some(unbuilt());
        };
        let Some(size) = size(class) else {
            return Some(format!("type {class} is not supported"));
        };
        if *elements < 0 || elements.saturating_mul(size) > self.most.into() {
            return Some(format!(
                "its storage claims {elements} elements of {size} bytes, and the file has room for {} bytes; \
                 get the whole file anew",
                self.most
            ));
        }
        let place = format!("shape {shape:?} with strides {strides:?} at {offset}");
        if *offset < 0 || shape.iter().chain(&strides).any(|&number| number < 0) {
            return Some(format!("{place} is negative"));
        }
        if shape.len() != strides.len() {
            return Some(format!("{place} does not fit together"));
        }
        let last = shape
            .iter()
            .zip(&strides)
            .try_fold(*offset, |last, (side, stride)| {
                last.checked_add((side - 1).checked_mul(*stride)?)
            })
            .filter(|_| shape.iter().try_fold(size, |all, side| all.checked_mul(*side)).is_some());
        let Some(last) = last else { return Some(format!("{place} overflows")) };
        let bytes = shape.iter().fold(size, |all, side| all * side);
        if bytes > MAX_TENSOR_SIZE as i128 {
            return Some(format!("{place} would be {bytes} bytes"));
        }
        // An untyped storage counts bytes, and the type stands elsewhere.
        let typed = &**class != "torch UntypedStorage";
        (typed && !shape.contains(&0) && last >= *elements)
            .then(|| format!("{place} is beyond its storage of {elements} elements"))
    }
}

fn unbuilt() -> String {
    "not built of a storage, an offset, a shape and strides".to_owned()
}

fn numbers(tuple: &Value) -> Option<Vec<i128>> {
    let Value::Tuple(values, _) = tuple else { return None };
    let number = |value: &Value| match value {
        Value::Number(number) => Some(*number),
        _ => None,
    };
    values.iter().map(number).collect()
}

/// A tuple, or something unknown if it is nested deeper than any that matters.
fn tuple(values: Vec<Value>) -> Value {
    let depth = |value: &Value| match value {
        Value::Tuple(_, depth) => *depth,
        _ => 0,
    };
    match values.iter().map(depth).max().unwrap_or(0) + 1 {
        depth if depth > DEEPEST => Value::Other,
        depth => Value::Tuple(values.into(), depth),
    }
}

/// The array that `("storage", class, key, device, elements)` names.
fn storage(id: &Value) -> Value {
    let Value::Tuple(fields, _) = id else { return Value::Other };
    match &fields[..] {
        [_, Value::Name(class), _, _, Value::Number(elements), ..] => {
            Value::Storage(class.clone(), *elements)
        }
        _ => Value::Other,
    }
}

/// Bytes of one number in a storage of `class`.
fn size(class: &str) -> Option<i128> {
    Some(match class.strip_prefix("torch ").or_else(|| class.strip_prefix("torch.storage "))? {
        "DoubleStorage" | "LongStorage" => 8,
        "FloatStorage" | "IntStorage" => 4,
        "HalfStorage" | "BFloat16Storage" | "ShortStorage" => 2,
        "CharStorage" | "ByteStorage" | "BoolStorage" | "UntypedStorage" => 1,
        _ => return None,
    })
}

/// A little-endian number in two's complement; unknown beyond sixteen bytes.
fn long(bytes: &[u8]) -> Value {
    let sign = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
    let mut whole = [sign; 16];
    match whole.get_mut(..bytes.len()) {
        Some(low) => low.copy_from_slice(bytes),
        None => return Value::Other,
    }
    Value::Number(i128::from_le_bytes(whole))
}

fn array<const N: usize>(input: &mut dyn BufRead) -> io::Result<[u8; N]> {
    let mut array = [0; N];
    input.read_exact(&mut array)?;
    Ok(array)
}

/// A value of as many bytes as a number of `width` bytes says; they take memory as they arrive.
fn payload(code: u8, width: usize, input: &mut dyn BufRead) -> io::Result<Value> {
    let mut count = [0; 8];
    input.read_exact(&mut count[..width])?;
    let count = u64::from_le_bytes(count);
    let mut bytes = Vec::new();
    input.take(count.min(LONGEST)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != count {
        return Err(broken());
    }
    Ok(match code {
        0x8a | 0x8b => long(&bytes),
        b'X' | b'T' | b'U' | 0x8c | 0x8d => Value::Text(String::from_utf8_lossy(&bytes).into()),
        _ => Value::Other,
    })
}

fn line(input: &mut dyn BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    input.take(LONGEST).read_until(b'\n', &mut line)?;
    match line.pop() {
        Some(b'\n') => Ok(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned()),
        _ => Err(broken()),
    }
}
