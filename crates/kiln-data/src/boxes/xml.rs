//! As much of XML as files of annotations have: elements and text, each with its line.
//!
//! Attributes are passed over. A document type that defines entities is refused: nobody needs it here, and it can make a
//! small file large.

/// An element with its own text, blanks at both ends cut off, and the elements in it.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub line: usize,
    pub name: String,
    pub text: String,
    pub children: Vec<Element>,
}

/// What is wrong, and in which line.
#[derive(Debug)]
pub(super) struct Fault {
    pub line: usize,
    pub reason: String,
}

/// Elements deeper than this are no annotation.
const DEEPEST: usize = 64;

/// The one element that `text` consists of.
pub(super) fn parse(text: &str) -> Result<Element, Fault> {
    let mut left = Cursor { text: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 };
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    while !left.text.is_empty() {
        let line = left.line;
        if let Some(after) = left.text.strip_prefix("<![CDATA[") {
            let raw = left.until(after, "]]>")?;
            match open.last_mut() {
                Some(element) => element.text += raw,
                None => return fault(line, "text outside of the first element"),
            }
        } else if let Some(after) = left.text.strip_prefix("<!--") {
            left.until(after, "-->")?;
        } else if let Some(after) = left.text.strip_prefix("<?") {
            left.until(after, "?>")?;
        } else if let Some(after) = left.text.strip_prefix("<!") {
            if left.until(after, ">")?.contains('[') {
                return fault(line, "a document type with definitions is not read");
            }
        } else if let Some(after) = left.text.strip_prefix("</") {
            let name = left.until(after, ">")?.trim();
            let Some(mut element) = open.pop() else {
                return fault(line, format!("</{}> closes nothing", short(name)));
            };
            if element.name != name {
                let (open, found) = (element.name, short(name));
                let from = element.line;
                return fault(line, format!("</{found}> where <{open}> of line {from} is open"));
            }
            element.text = element.text.trim().to_owned();
            match open.last_mut() {
                Some(parent) => parent.children.push(element),
                None => root = Some(element),
            }
        } else if let Some(after) = left.text.strip_prefix('<') {
            if root.is_some() {
                return fault(line, "a second element after the first one");
            }
            if open.len() == DEEPEST {
                return fault(line, format!("elements more than {DEEPEST} deep"));
            }
            let inside = left.tag(after)?;
            let (inside, closed) = match inside.strip_suffix('/') {
                Some(inside) => (inside, true),
                None => (inside, false),
            };
            let name = inside.split_whitespace().next().unwrap_or_default();
            if name.is_empty() || name.contains(['<', '&', '"', '\'', '=']) {
                return fault(line, format!("`<{}` is no element", short(inside)));
            }
            let element = Element { line, name: name.to_owned(), ..Element::default() };
            match open.last_mut() {
                Some(parent) if closed => parent.children.push(element),
                None if closed => root = Some(element),
                _ => open.push(element),
            }
        } else {
            let end = left.text.find('<').unwrap_or(left.text.len());
            let raw = left.take(end);
            match open.last_mut() {
                Some(element) => unescape(raw, line, &mut element.text)?,
                None if raw.trim().is_empty() => {}
                None => return fault(line, "text outside of the first element"),
            }
        }
    }
    if let Some(element) = open.pop() {
        return fault(
            left.line,
            format!("<{}> of line {} isn't closed", element.name, element.line),
        );
    }
    root.ok_or_else(|| Fault { line: left.line, reason: "there is no element".to_owned() })
}

impl Element {
    /// The first element in it that is called `name`.
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The first element in it that is called `name`, which must be there.
    pub fn needed(&self, name: &str) -> Result<&Element, Fault> {
        self.child(name).ok_or_else(|| Fault {
            line: self.line,
            reason: format!("<{}> has no <{name}>", self.name),
        })
    }

    /// Its text as a number.
    pub fn number(&self) -> Result<f64, Fault> {
        match self.text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => fault(
                self.line,
                format!("<{}> must be a number, found `{}`", self.name, short(&self.text)),
            ),
        }
    }
}

pub(super) fn fault<T>(line: usize, reason: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { line, reason: reason.into() })
}

/// As much of `text` as a message can take.
fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

/// What is left to read, and its line.
struct Cursor<'a> {
    text: &'a str,
    line: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, end: usize) -> &'a str {
        let (taken, left) = self.text.split_at(end);
        self.line += taken.matches('\n').count();
        self.text = left;
        taken
    }

    /// What is between here, which begins with `after` less an opening, and `close`; both are taken.
    fn until(&mut self, after: &'a str, close: &str) -> Result<&'a str, Fault> {
        let opening = self.text.len() - after.len();
        let Some(end) = after.find(close) else {
            return fault(self.line, format!("`{}` without `{close}`", &self.text[..opening]));
        };
        self.take(opening + end + close.len());
        Ok(&after[..end])
    }

    /// The inside of a tag, in whose quotes a `>` may stand.
    fn tag(&mut self, after: &'a str) -> Result<&'a str, Fault> {
        let mut quote = None;
        for (at, c) in after.char_indices() {
            match quote {
                Some(open) if c == open => quote = None,
                Some(_) => {}
                None if c == '"' || c == '\'' => quote = Some(c),
                None if c == '>' => {
                    self.take(1 + at + 1);
                    return Ok(&after[..at]);
                }
                None if c == '<' => break,
                None => {}
            }
        }
        fault(
            self.line,
            format!("`<{}` without `>`", short(after.lines().next().unwrap_or_default())),
        )
    }
}

/// Appends `raw` to `to`, with the characters that its references mean.
fn unescape(raw: &str, line: usize, to: &mut String) -> Result<(), Fault> {
    let mut left = raw;
    while let Some((plain, rest)) = left.split_once('&') {
        to.push_str(plain);
        let line = line + raw[..raw.len() - rest.len()].matches('\n').count();
        let reference = rest.get(..rest.len().min(12)).and_then(|rest| rest.split_once(';'));
        let Some((name, _)) = reference else {
            return fault(line, "`&` must be written as `&amp;`");
        };
        let number =
            |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
        let c = match name {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => match name.strip_prefix("#x").or_else(|| name.strip_prefix("#X")) {
                Some(digits) => number(digits, 16),
                None => name.strip_prefix('#').and_then(|digits| number(digits, 10)),
            },
        };
        let Some(c) = c else { return fault(line, format!("`&{};` is not known", short(name))) };
        to.push(c);
        left = &rest[name.len() + 1..];
    }
    to.push_str(left);
    Ok(())
}

/// `text` as it stands between tags.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
