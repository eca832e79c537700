//! `cargo xtask test [FILTER…]`: the ordinary tests, with the features of the product.

use anyhow::{Result, bail};

use crate::runner::{self, Selection};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if let Some(option) = arguments.iter().find(|argument| argument.starts_with('-')) {
        bail!("no option `{option}`; give parts of test names, or call nextest yourself for more");
    }
    let summary = runner::run(&runner::call(&Selection::Ordinary(arguments.to_vec())))?;
    for line in summary {
        println!("{line}");
    }
    Ok(())
}
