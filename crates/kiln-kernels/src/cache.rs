//! Packed weights, kept as long as the parameters they were packed from.
//!
//! The key is the storage of the weight and of whatever was folded into it, held weakly. Burn never changes storage that
//! something else points to (a weak pointer counts), so a live entry is a current one; when one of the parameters goes,
//! the entry goes at the next insertion.

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

/// Where a tensor's numbers are: its storage's address, and the part of it.
#[derive(PartialEq, Eq, Hash)]
struct Place {
    storage: usize,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<isize>,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    sources: Vec<Place>,
    form: Form,
    /// The bits of a number that was folded in.
    number: u64,
}

struct Entry {
    /// The sources' storages, in their order.
    owners: Vec<Weak<Bytes>>,
    value: Arc<dyn Any + Send + Sync>,
}

impl Entry {
    fn alive(&self) -> bool {
        self.owners.iter().all(|owner| owner.strong_count() > 0)
    }
}

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
    packed_from(&[weight], 0.0, form, pack)
}

/// The same where several tensors and a number went into it: a change of any of them packs again.
pub(crate) fn packed_from<T: Any + Send + Sync>(
    sources: &[&FlexTensor],
    number: f64,
    form: Form,
    pack: impl FnOnce() -> T,
) -> Arc<T> {
    let storages: Vec<Arc<Bytes>> = sources.iter().map(|source| source.data_arc()).collect();
    let key = key(sources, number, form);
    let lock = || CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    // An address is not given to another storage while an entry points to it, even weakly.
    if let Some(entry) = lock().get_or_insert_with(HashMap::new).get(&key)
        && entry.alive()
        && let Ok(value) = Arc::clone(&entry.value).downcast::<T>()
    {
        return value;
    }
    // Packed outside the lock: two threads may both do it, and either result serves.
    let value = Arc::new(pack());
    let mut cache = lock();
    let cache = cache.get_or_insert_with(HashMap::new);
    // In training too: what a validation packed is of weights that are gone after the next step.
    cache.retain(|_, entry| entry.alive());
    if PASSING.get() {
        return value;
    }
    let owners = storages.iter().map(Arc::downgrade).collect();
    let kept = Arc::clone(&value) as Arc<dyn Any + Send + Sync>;
    cache.insert(key, Entry { owners, value: kept });
    value
}

fn key(sources: &[&FlexTensor], number: f64, form: Form) -> Key {
    let places = sources.iter().map(|source| Place {
        storage: Arc::as_ptr(&source.data_arc()) as usize,
        offset: source.layout().start_offset(),
        shape: source.layout().shape().to_vec(),
        strides: source.layout().strides().to_vec(),
    });
    Key { sources: places.collect(), form, number: number.to_bits() }
}

/// Whether a packed form of `weight` is kept.
#[cfg(test)]
pub(crate) fn keeps(weight: &FlexTensor, form: Form) -> bool {
    let cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    cache.as_ref().is_some_and(|cache| cache.contains_key(&key(&[weight], 0.0, form)))
}

/// Packed weights whose parameters are all alive: one per weight and form, whether or not a norm is folded in (for
/// tests and reports).
#[must_use]
pub fn cached_weights() -> usize {
    let cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    cache.as_ref().map_or(0, |cache| cache.values().filter(|entry| entry.alive()).count())
}

/// Live entries of a weight.
#[cfg(test)]
pub(crate) fn entries_of(weight: &FlexTensor) -> usize {
    let storage = Arc::as_ptr(&weight.data_arc()) as usize;
    let cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    let all = cache.iter().flatten();
    all.filter(|(key, entry)| key.sources[0].storage == storage && entry.alive()).count()
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
    fn training_lets_go_of_what_a_validation_packed() {
        let weight = tensor(1.0);
        let kept = Arc::downgrade(&packed(&weight, Form::Dense, || 1));
        assert!(kept.upgrade().is_some());
        drop(weight);
        passing(|| packed(&tensor(2.0), Form::Dense, || 2));
        assert!(kept.upgrade().is_none());
    }

    #[test]
    fn a_view_at_another_offset_is_another_entry() {
        let weight = tensor(1.0);
        assert_eq!(*packed(&weight.narrow(0, 0, 2), Form::Dense, || 1), 1);
        assert_eq!(*packed(&weight.narrow(0, 2, 2), Form::Dense, || 2), 2);
    }

    #[test]
    fn every_source_and_the_number_belong_to_the_key() {
        let (weight, mut other) = (tensor(1.0), tensor(2.0));
        let get = |other: &FlexTensor, number, value| {
            *packed_from(&[&weight, other], number, Form::Dense, || value)
        };
        assert_eq!(get(&other, 0.5, 1), 1);
        assert_eq!(get(&other, 0.5, 2), 1);
        assert_eq!(get(&other, 0.25, 3), 3);
        other.storage_mut::<f32>()[0] = 5.0;
        assert_eq!(get(&other, 0.5, 4), 4);
        assert_eq!(*packed(&weight, Form::Dense, || 5), 5);
    }

    #[test]
    fn an_entry_goes_with_any_of_its_sources() {
        let (weight, other) = (tensor(1.0), tensor(2.0));
        let _ = packed_from(&[&weight, &other], 0.0, Form::Dense, || 1);
        assert_eq!(entries_of(&weight), 1);
        drop(other);
        assert_eq!(entries_of(&weight), 0);
    }
}
