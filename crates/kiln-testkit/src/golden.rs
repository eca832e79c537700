//! Reference values computed by PyTorch.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use burn::store::{ModuleSnapshot, ModuleStore, PyTorchToBurnAdapter, SafetensorsStore, bridge};

use crate::{device, largest_difference};

/// Reference tensors in `golden/NAME.safetensors` of the crate under test, written by
/// `cargo xtask golden NAME`.
pub struct Golden {
    name: String,
    store: RefCell<SafetensorsStore>,
}

impl Golden {
    /// Opens the file `name` of the crate under test.
    pub fn open(name: &str) -> Self {
        let golden = Self { name: name.to_owned(), store: RefCell::default() };
        let path = golden.path();
        assert!(path.is_file(), "no {}; {}", path.display(), golden.hint());

        let store = SafetensorsStore::from_file(path).with_from_adapter(PyTorchToBurnAdapter);
        golden.store.replace(store);
        golden
    }

    /// The file, for a test of the real weight loader.
    pub fn path(&self) -> PathBuf {
        // Cargo runs tests in the crate's folder.
        Path::new("golden").join(format!("{}.safetensors", self.name))
    }

    /// `module` with the reference parameters, whose names must be the module's own.
    pub fn load<M: Module>(&self, mut module: M) -> M {
        match module.load_from(&mut *self.store.borrow_mut()) {
            Ok(_) => module,
            Err(error) => panic!("{error}; {}", self.hint()),
        }
    }

    /// The tensor called `name`.
    pub fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        let mut store = self.store.borrow_mut();
        match store.get_tensor(name) {
            Ok(Some(entry)) => match bridge::to_data(entry) {
                Ok(data) => Tensor::from_data(data, &device()),
                Err(error) => panic!("{name}: {error}; {}", self.hint()),
            },
            Ok(None) => panic!("no tensor {name} in {}; {}", self.path().display(), self.hint()),
            Err(error) => panic!("{error}; {}", self.hint()),
        }
    }

    /// Checks that `actual` agrees with the tensor called `name`: no element may differ by more
    /// than 1e-4 of the largest reference value.
    #[track_caller]
    pub fn assert_close<const D: usize>(&self, name: &str, actual: Tensor<D>) {
        let difference = largest_difference(actual, self.tensor(name));
        // Written so that a NaN fails.
        let close = difference <= 1e-4;
        assert!(close, "{name} of {} is off by {difference:e}; {}", self.name, self.hint());
    }

    fn hint(&self) -> String {
        format!("`cargo xtask golden {}` writes the reference anew", self.name)
    }
}
