//! Recipes, training loops, checkpoints, evaluation and prediction of kiln.
//!
//! A [`Recipe`] names everything a run depends on; [`train`] turns it into a run folder; a
//! [`Checkpoint`] in that folder is all that [`evaluate`] and [`predict`] need. Progress goes to an
//! [`Observer`]; nothing here knows a terminal.

mod average;
mod checkpoint;
mod classification;
mod clip;
mod compare;
mod error;
mod event;
mod folder;
mod groups;
mod identity;
mod known;
mod loss;
mod machine;
mod measure;
mod memory;
mod optimizer;
mod parts;
mod plan;
mod predict;
mod published;
mod reading;
mod recipe;
mod report;
mod run;
mod schedule;
mod step;
mod train;

pub use average::Ema;
pub use checkpoint::{Checkpoint, Progress, Running, State, write_atomically};
pub use classification::{Evaluation, Ready, Subject, evaluate};
pub use compare::{Compared, Variant, compare, picture};
pub use error::Error;
pub use event::{EpochRow, Event, Observer, Silent, Started, Step};
pub use folder::{run_of, runs_in};
pub use groups::{Group, Stage};
pub use known::ClassOrder;
pub use loss::{Loss, LossName};
pub use machine::{device_name, machine, peak_memory, processor};
pub use memory::{Memory, Use};
pub use optimizer::{Algorithm, Optimizer};
pub use plan::{Plan, plan};
pub use predict::{Each, Prediction, predict};
pub use published::{PRETRAINED, Published, Weights};
pub use reading::Reading;
pub use recipe::{LARGEST_BATCH, LARGEST_SEED, MOST_EPOCHS, Recipe, Stop, recipes};
pub use schedule::{Curve, Schedule};
pub use train::{Job, Outcome, Stopped, train};
