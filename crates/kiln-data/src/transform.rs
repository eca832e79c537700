//! Changes of an image that take its boxes and masks along.
//!
//! A [`Scene`] is an image with what is marked in it. An [`Op`] changes one at fixed parameters, as torchvision's
//! `transforms.v2` does on Pillow images; [`Augment`] draws the parameters, from the stream it is given and from nothing
//! else; [`Mixing`] blends the samples of a batch.
//!
//! Shapes are resampled bilinearly in images and by the nearest pixel in masks; what comes from outside is black, and
//! not marked.

mod affine;
mod augment;
mod colour;
mod crop;
mod erase;
mod filter;
mod hue;
mod letterbox;
mod mix;
mod op;
mod policy;
mod resize;
mod scene;
mod tone;

pub use affine::Affine;
pub use augment::{Augment, Crop};
pub(crate) use colour::luma;
pub use crop::Region;
pub use letterbox::Letterbox;
pub(crate) use mix::mixed;
pub use mix::{Mixing, SoftTargets};
pub use op::Op;
pub use policy::Policy;
pub use scene::{Mask, Object, Scene};

#[cfg(test)]
mod tests;
