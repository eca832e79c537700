//! Feature maps in memory: channels last (NHWC) behind burn's NCHW shape, kept from layer to layer.
//!
//! A kernel's output is a `FlexTensor` of shape [batch, channels, height, width] whose strides say that the channels of a
//! pixel lie side by side. Burn's own operations read it like any permuted tensor; the next kernel finds it as it wants it.

use std::cell::Cell;

use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{DType, Shape};

use crate::buffer::Buffer;
use crate::parallel::{Shared, for_each, part, threads};

thread_local! {
    static CONVERTED: Cell<usize> = const { Cell::new(0) };
}

/// Maps that reached a kernel in another order than channels-last and had to be copied, of those that this thread has
/// passed to functions of this crate. A network that stays within the crate between its first and its last layer adds
/// none, apart from its images.
#[must_use]
pub fn converted_maps() -> usize {
    CONVERTED.get()
}

/// A feature map to read: pixel (n, y, x) starts at `((n * height + y) * width + x) * step` floats.
#[derive(Clone)]
pub(crate) struct Map {
    tensor: FlexTensor,
    start: usize,
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Floats from one pixel to the next: the channels, or more when this is some of a wider map's channels.
    pub(crate) step: usize,
}

/// The distance between pixels if the layout is channels-last, else nothing.
fn channels_last(layout: &Layout) -> Option<usize> {
    let [n, c, h, w]: [usize; 4] = layout.shape().to_vec().try_into().ok()?;
    let [sn, sc, sh, sw]: [isize; 4] = layout.strides().try_into().ok()?;
    if c > 1 && sc != 1 {
        return None;
    }
    let step = if w > 1 {
        sw
    } else if h > 1 {
        sh
    } else if n > 1 {
        sn
    } else {
        c as isize
    };
    let (width, height) = (w as isize, h as isize);
    let regular = step >= c as isize
        && (h <= 1 || sh == width * step)
        && (n <= 1 || sn == height * width * step);
    regular.then_some(step as usize)
}

/// Whether the layout covers a whole storage, each element once, in whatever order of dimensions.
pub(crate) fn dense(layout: &Layout) -> bool {
    let mut dims: Vec<(isize, usize)> = layout
        .strides()
        .iter()
        .copied()
        .zip(layout.shape().iter().copied())
        .filter(|&(_, size)| size != 1)
        .collect();
    dims.sort_unstable();
    let mut expected = 1;
    layout.start_offset() == 0
        && dims.iter().all(|&(stride, size)| {
            let fits = stride == expected;
            expected *= size as isize;
            fits
        })
}

impl Map {
    /// Reads a tensor of rank 4 as it is, if it is channels-last, else copies it so.
    pub(crate) fn of(tensor: FlexTensor) -> Self {
        let [batch, channels, height, width] = dims(&tensor);
        if let Some(step) = channels_last(tensor.layout()) {
            let start = tensor.layout().start_offset();
            return Self { tensor, start, batch, channels, height, width, step };
        }
        CONVERTED.set(CONVERTED.get() + 1);
        let mut out = Buffer::new(batch * channels * height * width);
        to_channels_last(&tensor, &mut out, [0, 0, 0, 0]);
        Self::of(FlexTensor::new(
            out.into_bytes(),
            layout([batch, channels, height, width]),
            DType::F32,
        ))
    }

    pub(crate) fn tensor(&self) -> &FlexTensor {
        &self.tensor
    }

    pub(crate) fn into_tensor(self) -> FlexTensor {
        self.tensor
    }

    pub(crate) fn data(&self) -> &[f32] {
        &self.tensor.storage::<f32>()[self.start..]
    }

    /// The four sizes as burn gives them.
    pub(crate) fn shape(&self) -> [usize; 4] {
        [self.batch, self.channels, self.height, self.width]
    }

    pub(crate) fn pixels(&self) -> usize {
        self.batch * self.height * self.width
    }

    /// Address of the first pixel; `pixels()` of them may be read, `step` apart.
    pub(crate) fn pointer(&self) -> *const f32 {
        let needed = (self.pixels().max(1) - 1) * self.step + self.channels;
        let data = self.data();
        assert!(data.len() >= needed, "a map's layout reaches beyond its storage");
        data.as_ptr()
    }
}

/// The four sizes of a tensor of rank 4.
pub(crate) fn dims(tensor: &FlexTensor) -> [usize; 4] {
    tensor.layout().shape().to_vec().try_into().expect("maps have four dimensions")
}

/// The channels-last layout of a shape given as burn does: [batch, channels, height, width].
pub(crate) fn layout([n, c, h, w]: [usize; 4]) -> Layout {
    Layout::new(
        Shape::from(vec![n, c, h, w]),
        vec![(c * h * w) as isize, 1, (w * c) as isize, c as isize],
        0,
    )
}

/// Copies a tensor of any strides into channels-last order with zeros around it: `[top, bottom, left, right]`.
pub(crate) fn to_channels_last(
    tensor: &FlexTensor,
    out: &mut [f32],
    [top, bottom, left, right]: [usize; 4],
) {
    let [n, c, h, w] = dims(tensor);
    let (full_h, full_w) = (h + top + bottom, w + left + right);
    assert_eq!(out.len(), n * c * full_h * full_w);
    let strides: [isize; 4] =
        tensor.layout().strides().try_into().expect("maps have four dimensions");
    let source = tensor.storage::<f32>();
    let start = tensor.layout().start_offset() as isize;
    let rows = n * full_h;
    let target = Shared::new(out.as_mut_ptr());
    let parts = rows.min(threads() * 4);
    for_each(parts, rows * full_w * c, |i| {
        for row in part(rows, parts, i) {
            let (image, y) = (row / full_h, row % full_h);
            // SAFETY: rows are disjoint, and the assertion above says that all of them lie within `out`.
            let line = unsafe {
                std::slice::from_raw_parts_mut(target.get().add(row * full_w * c), full_w * c)
            };
            if y < top || y >= top + h {
                line.fill(0.0);
                continue;
            }
            line[..left * c].fill(0.0);
            line[(left + w) * c..].fill(0.0);
            let line = &mut line[left * c..(left + w) * c];
            let base = start + image as isize * strides[0] + (y - top) as isize * strides[2];
            // Blocks of sixteen pixels, so that a block's lines stay in the first cache while the channels pass.
            for (block, pixels) in line.chunks_mut(16 * c.max(1)).enumerate() {
                for channel in 0..c {
                    let from =
                        base + channel as isize * strides[1] + (block * 16) as isize * strides[3];
                    for (x, pixel) in pixels.chunks_exact_mut(c).enumerate() {
                        pixel[channel] = source[(from + x as isize * strides[3]) as usize];
                    }
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    fn counting(shape: [usize; 4]) -> FlexTensor {
        let len = shape.iter().product::<usize>();
        FlexTensor::from_data(TensorData::new(
            (0..len).map(|i| i as f32).collect::<Vec<_>>(),
            shape,
        ))
    }

    #[test]
    fn a_contiguous_tensor_is_turned_channels_last() {
        let map = Map::of(counting([2, 3, 2, 2]));
        assert_eq!(map.data()[..6], [0.0, 4.0, 8.0, 1.0, 5.0, 9.0]);
        assert_eq!(map.step, 3);
    }

    #[test]
    fn only_a_map_that_must_be_copied_counts() {
        let before = converted_maps();
        let map = Map::of(counting([2, 3, 2, 2]));
        assert_eq!(converted_maps(), before + 1);
        Map::of(map.into_tensor());
        Map::of(counting([2, 3, 1, 1]));
        assert_eq!(converted_maps(), before + 1);
    }

    #[test]
    fn one_channel_and_one_pixel_need_no_copy() {
        for shape in [[2, 1, 3, 4], [3, 5, 1, 1], [1, 7, 1, 1]] {
            let tensor = counting(shape);
            let address = tensor.storage::<f32>().as_ptr();
            assert_eq!(Map::of(tensor).pointer(), address, "{shape:?}");
        }
    }

    #[test]
    fn some_channels_of_a_map_are_read_in_place() {
        let wide = Map::of(counting([1, 6, 2, 3])).tensor;
        let address = wide.storage::<f32>().as_ptr() as usize;
        let map = Map::of(wide.narrow(1, 2, 3));
        assert_eq!((map.step, map.channels), (6, 3));
        assert_eq!(map.pointer() as usize, address + 8);
    }

    #[test]
    fn borders_are_zero() {
        let mut out = vec![9.0; 4 * 5 * 2];
        to_channels_last(&counting([1, 2, 2, 2]), &mut out, [1, 1, 2, 1]);
        assert_eq!(out[..10], [0.0; 10]);
        assert_eq!(out[10..20], [0.0, 0.0, 0.0, 0.0, 0.0, 4.0, 1.0, 5.0, 0.0, 0.0]);
        assert_eq!(out[30..], [0.0; 10]);
    }

    #[test]
    fn dense_accepts_permutations_and_refuses_gaps() {
        assert!(dense(&layout([2, 3, 4, 5])));
        assert!(dense(counting([2, 3, 4, 5]).layout()));
        assert!(!dense(counting([2, 3, 4, 5]).narrow(1, 0, 2).layout()));
        assert!(!dense(&Layout::new(Shape::from(vec![2, 2]), vec![0, 1], 0)));
    }
}
