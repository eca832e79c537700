//! How a Rust file is written: its header, its length, its tests, and where `unsafe` may stand.

use super::Finding;
use super::rust::{self, Line};
use super::tree::Tree;

/// Lines a file may have before its tests, and with them.
const BODY: usize = 400;
const WHOLE: usize = 600;

/// The only crate that may hold `unsafe`.
const UNSAFE_ROOM: &str = "crates/kiln-kernels/";

/// Code that stands for work not done.
const UNFINISHED: &[&str] = &["todo!", "unimplemented!", "dbg!", "#[ignore"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let files = tree.texts().filter(|(path, _)| path.ends_with(".rs"));
    files.flat_map(|(path, text)| file(path, text)).collect()
}

fn file(path: &str, text: &str) -> Vec<Finding> {
    let lines = rust::lines(text);
    let mut findings = Vec::new();
    findings.extend(header(path, text));
    findings.extend(length(path, &lines));
    findings.extend(unfinished(path, &lines));
    findings.extend(unsafety(path, &lines));
    findings.extend(test_names(path, &lines));
    findings
}

fn header(path: &str, text: &str) -> Option<Finding> {
    let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!"))?;
    (!first.starts_with("//!"))
        .then(|| Finding::line(path, 1, "no header: begin with `//! ` and one line of what it is"))
}

fn length(path: &str, lines: &[Line]) -> Option<Finding> {
    let tests = lines.iter().position(|line| line.code.trim() == "#[cfg(test)]");
    let body = tests.unwrap_or(lines.len());
    if path.contains("/src/") && body > BODY {
        return Some(Finding::file(
            path,
            format!("{body} lines before the tests, more than {BODY}: split it"),
        ));
    }
    (lines.len() > WHOLE)
        .then(|| Finding::file(path, format!("{} lines, more than {WHOLE}: split it", lines.len())))
}

fn unfinished<'a>(path: &'a str, lines: &'a [Line]) -> impl Iterator<Item = Finding> + 'a {
    lines.iter().enumerate().filter_map(move |(index, line)| {
        let found = UNFINISHED.iter().find(|mark| line.code.contains(*mark))?;
        Some(Finding::line(path, index + 1, format!("`{found}` stands for work not done")))
    })
}

fn unsafety(path: &str, lines: &[Line]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if !rust::has_word(&line.code, "unsafe") {
            continue;
        }
        if !path.starts_with(UNSAFE_ROOM) {
            findings.push(Finding::line(
                path,
                index + 1,
                "`unsafe` belongs into kiln-kernels only",
            ));
        } else if promises(&line.code) && !explained(lines, index) {
            findings.push(Finding::line(
                path,
                index + 1,
                "`unsafe` without a `// SAFETY:` above it",
            ));
        }
    }
    findings
}

/// True for a block or an `impl`, where somebody promises soundness. An `unsafe fn` asks its caller to.
fn promises(code: &str) -> bool {
    code.match_indices("unsafe").any(|(at, word)| {
        let next = code[at + word.len()..].trim_start();
        next.is_empty() || next.starts_with('{') || next.starts_with("impl")
    })
}

/// True when the line or the comment directly above says why it is sound. Attributes and the start of the statement
/// may stand between.
fn explained(lines: &[Line], index: usize) -> bool {
    let says = |line: &Line| line.comment.contains("SAFETY:");
    if says(&lines[index]) {
        return true;
    }
    for line in lines[..index].iter().rev() {
        let code = line.code.trim();
        if says(line) {
            return true;
        }
        let unfinished_statement =
            code.ends_with('=') || code.ends_with('(') || code.ends_with(',');
        if code.is_empty() && line.comment.is_empty()
            || !(code.is_empty() || code.starts_with("#[") || unfinished_statement)
        {
            return false;
        }
    }
    false
}

fn test_names(path: &str, lines: &[Line]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut test = false;
    for (index, line) in lines.iter().enumerate() {
        let code = line.code.trim();
        test |= code == "#[test]" || code.starts_with("#[test]");
        let Some(name) = function(code).filter(|_| test) else { continue };
        test = false;
        let claims = name.contains('_')
            && !name.starts_with("test_")
            && !name.ends_with("_test")
            && !name.ends_with("_works");
        if !claims {
            findings.push(Finding::line(
                path,
                index + 1,
                format!("`{name}` claims nothing: name what holds when it passes"),
            ));
        }
    }
    findings
}

/// The name in `fn name(`.
fn function(code: &str) -> Option<&str> {
    let (before, rest) = code.split_once("fn ")?;
    let starts_a_word = before.is_empty() || before.ends_with(' ');
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    starts_a_word.then_some(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        check(&Tree::of(&[(path, text)])).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn a_file_begins_with_what_it_is() {
        assert!(messages("crates/a/src/lib.rs", "//! A.\n").is_empty());
        assert!(messages("crates/a/src/lib.rs", "use std::fmt;\n")[0].starts_with("no header"));
    }

    #[test]
    fn long_files_are_found() {
        let long = format!("//! A.\n{}", "fn a() {}\n".repeat(BODY));
        assert_eq!(messages("crates/a/src/lib.rs", &long).len(), 1);
        assert!(messages("crates/a/tests/it/main.rs", &long).is_empty());
        let tests = format!("//! A.\n#[cfg(test)]\nmod tests {{}}\n{}", "// x\n".repeat(WHOLE - 3));
        assert!(messages("crates/a/src/lib.rs", &tests).is_empty());
        assert_eq!(messages("crates/a/src/lib.rs", &format!("{tests}// x\n")).len(), 1);
    }

    #[test]
    fn unfinished_work_is_found_in_code_only() {
        let text = "//! A todo!() in words.\nfn a() { todo!() }\nconst B: &str = \"dbg!\";\n";
        assert_eq!(messages("crates/a/src/lib.rs", text), ["`todo!` stands for work not done"]);
    }

    #[test]
    fn ignored_tests_are_found() {
        let text = "//! A.\n#[test]\n#[ignore = \"slow\"]\nfn one_holds() {}\n";
        assert_eq!(messages("crates/a/src/lib.rs", text), ["`#[ignore` stands for work not done"]);
    }

    #[test]
    fn unsafe_stays_in_the_kernels() {
        let text = "//! A.\n#![deny(unsafe_code)]\n// SAFETY: x\nfn a() { unsafe { b() } }\n";
        assert_eq!(
            messages("crates/kiln-layers/src/lib.rs", text),
            ["`unsafe` belongs into kiln-kernels only"]
        );
        assert!(messages("crates/kiln-kernels/src/lib.rs", text).is_empty());
    }

    #[test]
    fn unsafe_needs_its_reason() {
        let path = "crates/kiln-kernels/src/lib.rs";
        assert_eq!(messages(path, "//! A.\nfn a() {\n    unsafe { b() }\n}\n").len(), 1);
        assert!(messages(path, "//! A.\nfn a() {\n    // SAFETY: b is\n    // sound.\n    let c =\n        unsafe { b() };\n}\n").is_empty());
        assert!(
            messages(path, "//! A.\n/// # Safety\n/// x\n#[inline]\nunsafe fn a() {}\n").is_empty()
        );
        assert!(messages(path, "//! A.\ntype F = unsafe fn(u8);\n").is_empty());
        assert_eq!(
            messages(path, "//! A.\n// SAFETY: another.\n\nunsafe impl Send for A {}\n").len(),
            1
        );
    }

    #[test]
    fn names_of_tests_are_claims() {
        let test = |name: &str| format!("//! A.\n#[test]\nfn {name}() {{}}\nfn helper() {{}}\n");
        let path = "crates/a/src/lib.rs";
        assert!(messages(path, &test("zero_weights_halve_the_input")).is_empty());
        for name in ["lenet", "test_lenet_shape", "lenet_works", "shape_test"] {
            assert_eq!(messages(path, &test(name)).len(), 1, "{name}");
        }
    }
}
