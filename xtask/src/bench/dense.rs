//! `cargo xtask bench dense`: one pass of a convolutional form over a large image, against its crops.

use anyhow::Result;

use super::page;
use crate::command::Call;
use crate::stamp::Stamp;

pub(super) fn run(stamp: &Stamp) -> Result<()> {
    let table = Call::cargo("run --release --locked --quiet --example score_map").output()?;
    print!("{table}");
    let body = format!(
        "`cargo xtask bench dense`: `Convolutional` gives the scores of all windows of an image in one pass; the other \
         way is to cut each window out and run the network on it, here sixteen at a time. Random weights, medians.\n\n{table}"
    );
    page::renew(stamp, "A map of scores in one pass", &body)
}
