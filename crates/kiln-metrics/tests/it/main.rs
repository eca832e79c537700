//! The measures of detection against torchvision, pycocotools and published figures.

mod golden;
mod published;
