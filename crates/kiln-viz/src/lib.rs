//! Pictures and reports of kiln: numbers in, files out.
//!
//! Nothing here knows tensors or models. Every drawing takes plain slices and returns a [`Picture`]: the same drawing for
//! a light and a dark page, at two pixels a point, with labels in an embedded font (no system font is asked for). A
//! [`Report`] puts pictures, tables and words into one self-contained HTML file, and [`Run`] knows the report of a training
//! run: fill in what is there so far and write it, as often as you like.
//!
//! ```
//! use kiln_viz::{Chart, Report};
//!
//! let chart = Chart::new("Loss").x("epoch").y("cross entropy")
//!     .series("train", [(1.0, 0.81), (2.0, 0.32), (3.0, 0.21)])
//!     .series("validation", [(1.0, 0.45), (2.0, 0.28), (3.0, 0.24)]);
//! let html = Report::new("A first run")
//!     .section("Curves")
//!     .picture(&chart.picture(480, 300), "Both losses fall over three epochs.", "Lower is better.")
//!     .render();
//! assert!(html.starts_with("<!doctype html>"));
//! ```

mod axis;
mod boxes;
mod canvas;
mod classes;
mod confusion;
mod curves;
mod error;
pub mod font;
mod gallery;
mod html;
mod picture;
mod report;
mod run;
mod theme;
mod tiles;
pub mod units;

pub use boxes::{Labelled, class_colour, draw_boxes};
pub use classes::Classes;
pub use confusion::confusion;
pub use curves::{Chart, Mark, Series, Values};
pub use error::Error;
pub use gallery::{Card, contact_sheet};
pub use picture::{Picture, png};
pub use report::{Metric, Report};
pub use run::{Epoch, Evaluation, Filters, LayerRow, Run, Status, Step};
pub use theme::Theme;
pub use tiles::{enlarged, filters, maps, scores};
