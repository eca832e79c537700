//! Weight files, right and wrong.

mod choices;
mod export;
mod hostile;

use std::fs;
use std::path::PathBuf;

use kiln_layers::{ConvBlock, ConvBlockConfig};
use kiln_testkit::{Golden, device, noise};
use tempfile::TempDir;

use super::*;
use crate::initialize;
use crate::lenet5::{KEYS, LeNet5, LeNet5Config};

fn tiny(classes: usize) -> LeNet5 {
    let config = LeNet5Config::new().with_maps([2, 3, 6]).with_hidden(5);
    config.with_num_classes(classes).init(&device())
}

/// A folder that is gone after the test, and a file in it.
fn scratch(name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    (folder, file)
}

/// Runs `work`, which must not map memory by the gigabyte; claims here begin at four. Where the
/// system doesn't tell, that much stays unknown.
fn frugal<T>(work: impl FnOnce() -> T) -> T {
    let mapped = || {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    let before = mapped();
    let result = work();
    match before.zip(mapped()) {
        Some((before, after)) => {
            assert!(after - before < 1 << 20, "{} KiB more", after - before);
        }
        None if cfg!(target_os = "linux") => panic!("/proc/self/status has no VmPeak"),
        None => println!("skipped: how much memory it takes, for want of /proc/self/status"),
    }
    result
}

#[test]
#[cfg(target_os = "linux")]
#[should_panic(expected = "KiB more")]
fn a_measurement_of_memory_sees_four_gigabytes() {
    // Reserved and never touched: it costs no memory.
    frugal(|| std::hint::black_box(Vec::<u8>::with_capacity(4 << 30)).capacity());
}

/// The message for a file of these bytes.
fn refusal(bytes: &[u8]) -> String {
    let (_folder, file) = scratch("hostile.safetensors");
    fs::write(&file, bytes).unwrap();
    let message = load(tiny(4), &file, &[]).unwrap_err().to_string();
    assert!(message.contains("hostile.safetensors"), "{message}");
    message
}

/// A file of this header and so many bytes of data.
fn container(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn a_pytorch_checkpoint_with_wrappers_is_read() {
    let golden = Golden::open("lenet5");
    let file = golden.path().with_extension("pth");

    let model = load_exact(tiny(4), &file, KEYS).unwrap();

    golden.assert_close("output", model.forward(golden.tensor("input")));
}

#[test]
fn a_checkpoint_in_the_format_before_pytorch_1_6_is_read() {
    let golden = Golden::open("lenet5");
    let file = golden.path().with_file_name("lenet5_legacy.pth");

    let model = load_exact(tiny(4), &file, KEYS).unwrap();

    golden.assert_close("output", model.forward(golden.tensor("input")));
}

#[test]
fn a_file_of_its_own_needs_no_keys_and_keeps_every_bit() {
    let (_folder, file) = scratch("model.safetensors");
    let model = tiny(4);

    save(&model, &file).unwrap();
    let again = load_exact(tiny(4), &file, &[]).unwrap();

    assert_eq!(to_bytes(&again), to_bytes(&model));
    assert_eq!(fs::read(&file).unwrap(), to_bytes(&model));
}

#[test]
fn paths_are_sorted_and_the_only_metadata_is_the_format() {
    let bytes = to_bytes(&tiny(4));
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&bytes[8..8 + length]).unwrap();

    assert!(
        header.starts_with(r#"{"__metadata__":{"format":"kiln"},"c1.conv.bias":{"#),
        "{header}"
    );
    assert_eq!(length % 8, 0);
    let mut paths: Vec<String> = parameters(&tiny(4)).into_iter().map(|p| p.path).collect();
    paths.sort();
    let places: Vec<_> = paths.iter().map(|path| header.find(&format!("\"{path}\""))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{header}");
}

#[test]
fn saving_replaces_a_file_and_leaves_nothing_else() {
    let (folder, file) = scratch("model.safetensors");

    save(&tiny(3), &file).unwrap();
    save(&tiny(4), &file).unwrap();

    assert!(load_exact(tiny(4), &file, &[]).is_ok());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn running_statistics_of_the_last_step_are_saved() {
    let training = device().autodiff();
    let block = |device: &Device| ConvBlockConfig::new([1, 2], 3).init(device);
    let trained: ConvBlock = block(&training);
    initialize(&trained);
    trained.forward(noise([4, 1, 6, 6], 1, &training) + 3.0);

    let bytes = to_bytes(&trained);
    let loaded = from_bytes(block(&device()), bytes, Path::new("memory")).unwrap();

    let mean = loaded.norm.as_ref().unwrap().running_mean.value().to_data();
    assert!(mean.iter::<f32>().any(|x| x != 0.0));
    let x = noise([2, 1, 6, 6], 2, &device());
    let expected = trained.valid().forward(x.clone()).to_data();
    loaded.forward(x).to_data().assert_eq(&expected, true);
}

#[test]
fn missing_and_unexpected_tensors_are_named_as_their_owners_name_them() {
    let golden = Golden::open("lenet5");
    let (_folder, file) = scratch("renamed.safetensors");
    let mut tensors = read_tensors(&golden.path()).unwrap();
    let weight = tensors.remove("f6.weight").unwrap();
    tensors.insert("fc6.weight".to_owned(), weight);
    write_tensors(&file, tensors).unwrap();

    let message = load_exact(tiny(4), &file, KEYS).unwrap_err().to_string();

    assert!(message.contains("missing: f6.weight ["), "{message}");
    assert!(message.contains("unexpected: fc6.weight, input, output"), "{message}");
}

#[test]
fn another_number_of_classes_leaves_only_the_head_as_it_was() {
    let (_folder, file) = scratch("ten.safetensors");
    save(&tiny(10), &file).unwrap();
    let model = tiny(4);
    let tensors = |model: &LeNet5| {
        let (_folder, file) = scratch("model.safetensors");
        save(model, &file).unwrap();
        read_tensors(&file).unwrap()
    };
    let before = tensors(&model);

    let (model, report) = load(model, &file, &[]).unwrap();

    let loaded = read_tensors(&file).unwrap();
    for (path, data) in tensors(&model) {
        let source = if path.starts_with("output.") { &before } else { &loaded };
        assert_eq!(data, source[&path], "{path}");
    }
    let wrong: Vec<_> = report.misshapen.iter().map(|tensor| tensor.path.as_str()).collect();
    assert_eq!(wrong, ["output.linear.weight", "output.linear.bias"]);
    assert_eq!(report.loaded.len(), parameters(&model).len() - 2);
    let message = load_exact(tiny(4), &file, &[]).unwrap_err().to_string();
    assert!(message.contains("output.linear.bias ([10] in the file, [4] wanted)"), "{message}");
}

#[test]
fn a_backbone_must_fit_and_a_head_of_other_classes_starts_anew() {
    let (_folder, file) = scratch("ten.safetensors");
    let trained = tiny(10);
    save(&trained, &file).unwrap();
    let head = tiny(4);
    let first = entry(&head, "output.linear.weight");

    let (model, report) = load_backbone(head, &file, &[]).unwrap();

    assert_eq!(entry(&model, "output.linear.weight"), first, "the head is the model's own");
    assert_eq!(entry(&model, "c1.conv.weight"), entry(&trained, "c1.conv.weight"));
    let message = report.to_string();
    assert!(message.contains("output.linear.bias ([10] in the file, [4] wanted)"), "{message}");

    let wider = LeNet5Config::new().with_maps([2, 4, 6]).with_hidden(5).init(&device());
    let message = load_backbone(wider, &file, &[]).unwrap_err().to_string();
    assert!(message.contains("misshapen: c3.conv.weight ([3, 2, 5, 5] in the file"), "{message}");
}

/// The tensor of `model` at `path`.
fn entry<M: Module>(model: &M, path: &str) -> TensorData {
    let tensor = entries(model).into_iter().find(|tensor| tensor.name == path).unwrap();
    bridge::into_data(tensor).unwrap()
}

#[test]
fn half_precision_is_widened() {
    let (_folder, file) = scratch("half.safetensors");
    let header = r#"{"conv.bias":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"conv.weight":{"dtype":"BF16","shape":[1,1,1,1],"data_offsets":[2,4]}}"#;
    let mut bytes = container(header, 4);
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&[0x00, 0x3c, 0x00, 0xc0]); // 1 in f16, -2 in bf16
    fs::write(&file, bytes).unwrap();
    let config = ConvBlockConfig::new([1, 1], 1).with_norm(kiln_layers::Norm::None);

    let block = load_exact(config.init(&device()), &file, &[]).unwrap();

    assert_eq!(block.conv.weight.val().dtype(), DType::F32);
    let y = block.conv.forward(Tensor::ones([1, 1, 1, 1], &device()));
    assert_eq!(y.into_scalar::<f32>(), -1.0);
}

#[test]
fn tensors_are_written_and_read_as_they_are() {
    let (_folder, file) = scratch("tensors.safetensors");
    let tensors = BTreeMap::from([
        ("input".to_owned(), noise::<4>([1, 2, 3, 4], 1, &device()).to_data()),
        ("steps".to_owned(), TensorData::from([3_i64, 5])),
    ]);

    write_tensors(&file, tensors.clone()).unwrap();

    assert_eq!(read_tensors(&file).unwrap(), tensors);
}

#[test]
fn a_truncated_file_is_refused_at_every_length() {
    let bytes = to_bytes(&tiny(4));
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;

    for length in (0..header).step_by(37).chain((header..bytes.len()).step_by(97)) {
        let message = refusal(&bytes[..length]);
        assert!(length < header || message.contains("tensor `"), "{length}: {message}");
    }
}

#[test]
fn a_hostile_header_is_refused_by_name_and_allocates_nothing() {
    let tensor = |dtype: &str, shape: &str, offsets: &str| {
        container(
            &format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#),
            8,
        )
    };
    let huge = "[4611686018427387904,4611686018427387904]";
    for (bytes, words) in [
        (tensor("F32", "[1099511627776]", "[0,4398046511104]"), "tensor `w`: 4398046511104 bytes"),
        (tensor("F32", "[1073741824]", "[0,4294967296]"), "tensor `w`: 4294967296 bytes"),
        (tensor("F32", huge, "[0,8]"), "tensor `w`: shape"),
        (tensor("F32", "[2]", "[8,0]"), "tensor `w`: 8 bytes"),
        (tensor("F32", "[1]", "[4,8]"), "tensor `w`: 4 bytes"),
        (tensor("F32", "[1]", "[0,4]"), "4 bytes after its last tensor"),
        (tensor("F32", "[-2]", "[0,8]"), "tensor `w`: not described as a tensor"),
        (tensor("F32", "[2.5]", "[0,8]"), "tensor `w`: not described as a tensor"),
        (tensor("F4", "[2]", "[0,8]"), "tensor `w`: type F4 is not supported"),
        (container(r#"{"w":3}"#, 0), "tensor `w`: not described as a tensor"),
        (container("[]", 0), "its header is no JSON table"),
        (container("{", 0), "its header is no JSON table"),
        (container(&"[".repeat(100_000), 0), "its header is no JSON table"),
        (container(&format!("{{\"w\":{}", "[".repeat(100_000)), 0), "its header is no JSON table"),
        ([&u64::MAX.to_le_bytes()[..], b"{}"].concat(), "its header claims"),
        ([&(4_u64 << 30).to_le_bytes()[..], b"{}"].concat(), "its header claims"),
        (b"{}".to_vec(), "2 bytes are no safetensors file"),
        (Vec::new(), "0 bytes are no safetensors file"),
    ] {
        let message = frugal(|| refusal(&bytes));
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn overlapping_tensors_are_refused() {
    let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;

    let message = refusal(&container(header, 8));

    assert!(message.contains("tensor `b`"), "{message}");
}

#[test]
fn a_file_with_flipped_bits_never_panics() {
    let bytes = to_bytes(&tiny(4));
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut seed = 1_u64;
    for _ in 0..3000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut flipped = bytes.clone();
        flipped[(seed >> 33) as usize % header] ^= 1 << (seed >> 61);

        match from_bytes(tiny(4), flipped, Path::new("memory")) {
            Ok(model) => assert_eq!(to_bytes(&model).len(), bytes.len(), "another network"),
            Err(error) => assert!(error.to_string().starts_with("memory: "), "{error}"),
        }
    }
}

#[test]
fn what_is_no_weight_file_says_so() {
    let (_folder, file) = scratch("notes.txt");
    fs::write(&file, "nothing of interest").unwrap();

    let message = load(tiny(4), &file, &[]).unwrap_err().to_string();

    assert!(message.contains("notes.txt: neither a safetensors nor a PyTorch file"), "{message}");
    let message = load(tiny(4), Path::new("no/such.pth"), &[]).unwrap_err().to_string();
    assert!(message.contains("no/such.pth"), "{message}");
}

#[test]
fn a_broken_pytorch_file_never_panics() {
    let (_folder, file) = scratch("broken.pth");
    let bytes = fs::read(Golden::open("lenet5").path().with_extension("pth")).unwrap();
    for length in (0..bytes.len()).step_by(211) {
        fs::write(&file, &bytes[..length]).unwrap();
        assert!(load(tiny(4), &file, KEYS).is_err(), "{length}");
    }
}
