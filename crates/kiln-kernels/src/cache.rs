//! Packed weights, kept as long as the parameter they were packed from.
//!
//! The key is the parameter's storage, held weakly. Burn never changes storage that something else points to (a weak
//! pointer counts), so a live entry is a current one; when the parameter goes, its entry goes at the next insertion.

use std::any::Any;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use burn::backend::flex::FlexTensor;
use burn::tensor::Bytes;

/// What was made of the weights; part of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// Panels for the matrix kernel, by number of groups.
    Panels { groups: usize },
    /// Winograd's transformed weights.
    Winograd,
    /// Channels-last taps of a depthwise convolution.
    Depthwise,
    /// Panels of a dense layer.
    Dense,
    /// Nothing but the memory of a dense layer's first use.
    DenseUsed,
    /// Panels of a transposed convolution, by stride, padding, dilation, groups.
    Transposed { options: [[usize; 2]; 3], groups: usize },
}

type Key = (usize, usize, Vec<usize>, Vec<isize>, Form);
type Entry = (Weak<Bytes>, Arc<dyn Any + Send + Sync>);

static CACHE: Mutex<Option<HashMap<Key, Entry>>> = Mutex::new(None);

thread_local! {
    static PASSING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` without keeping what it packs: in training a weight changes before it is needed again, and two packed
/// forms of every layer would be a good part of the memory.
pub(crate) fn passing<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            PASSING.set(self.0);
        }
    }
    let _restore = Restore(PASSING.replace(true));
    work()
}

/// The packed form of `weight`, made by `pack` if it is not there yet.
pub(crate) fn packed<T: Any + Send + Sync>(
    weight: &FlexTensor,
    form: Form,
    pack: impl FnOnce() -> T,
) -> Arc<T> {
    let storage = weight.data_arc();
    let key = key(weight, form);
    let lock = || CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((owner, value)) = lock().get_or_insert_with(HashMap::new).get(&key)
        && owner.upgrade().is_some_and(|owner| Arc::ptr_eq(&owner, &storage))
        && let Ok(value) = Arc::clone(value).downcast::<T>()
    {
        return value;
    }
    // Packed outside the lock: two threads may both do it, and either result serves.
    let value = Arc::new(pack());
    if PASSING.get() {
        return value;
    }
    let mut cache = lock();
    let cache = cache.get_or_insert_with(HashMap::new);
    cache.retain(|_, (owner, _)| owner.strong_count() > 0);
    cache.insert(key, (Arc::downgrade(&storage), Arc::clone(&value) as Arc<dyn Any + Send + Sync>));
    value
}

fn key(weight: &FlexTensor, form: Form) -> Key {
    let layout = weight.layout();
    (
        Arc::as_ptr(&weight.data_arc()) as usize,
        layout.start_offset(),
        layout.shape().to_vec(),
        layout.strides().to_vec(),
        form,
    )
}

/// Whether a packed form of `weight` is kept.
#[cfg(test)]
pub(crate) fn keeps(weight: &FlexTensor, form: Form) -> bool {
    let cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    cache.as_ref().is_some_and(|cache| cache.contains_key(&key(weight, form)))
}

/// Entries whose parameter is alive (for tests and reports).
#[must_use]
pub fn cached_weights() -> usize {
    let cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    cache
        .as_ref()
        .map_or(0, |cache| cache.values().filter(|(owner, _)| owner.strong_count() > 0).count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    fn tensor(value: f32) -> FlexTensor {
        FlexTensor::from_data(TensorData::new(vec![value; 4], [4]))
    }

    #[test]
    fn the_same_storage_is_packed_once_and_a_change_packs_again() {
        let mut weight = tensor(1.0);
        let first = packed(&weight, Form::Dense, || 1);
        assert_eq!(*packed(&weight, Form::Dense, || 2), *first);
        assert_eq!(*packed(&weight, Form::Winograd, || 3), 3);
        weight.storage_mut::<f32>()[0] = 5.0;
        assert_eq!(*packed(&weight, Form::Dense, || 4), 4);
    }

    #[test]
    fn nothing_is_kept_in_passing() {
        let weight = tensor(1.0);
        assert_eq!(*passing(|| packed(&weight, Form::Dense, || 1)), 1);
        assert_eq!(*packed(&weight, Form::Dense, || 2), 2);
    }

    #[test]
    fn a_view_at_another_offset_is_another_entry() {
        let weight = tensor(1.0);
        assert_eq!(*packed(&weight.narrow(0, 0, 2), Form::Dense, || 1), 1);
        assert_eq!(*packed(&weight.narrow(0, 2, 2), Form::Dense, || 2), 2);
    }
}
