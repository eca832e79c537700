//! PyTorch's files with claims that are not true. Nothing may panic, and nothing may be believed.

mod hidden;

use std::io::Write;

use kiln_layers::Norm;

use super::super::pytorch::Archive;
use super::*;

/// What a pickle says of one tensor.
#[derive(Clone, Copy)]
struct Claim {
    name: &'static str,
    class: &'static str,
    elements: i64,
    offset: i64,
    shape: &'static [i64],
    strides: &'static [i64],
}

const WEIGHT: Claim = Claim {
    name: "conv.weight",
    class: "FloatStorage",
    elements: 1,
    offset: 0,
    shape: &[1, 1, 1, 1],
    strides: &[1, 1, 1, 1],
};
const BIAS: Claim = Claim { name: "conv.bias", shape: &[1], strides: &[1], ..WEIGHT };

/// A network of two numbers.
fn network() -> ConvBlock {
    ConvBlockConfig::new([1, 1], 1).with_norm(Norm::None).init(&device())
}

fn pickled(claims: &[Claim]) -> Vec<u8> {
    fn text(to: &mut Vec<u8>, text: &str) {
        to.push(b'X');
        to.extend((text.len() as u32).to_le_bytes());
        to.extend(text.bytes());
    }
    fn number(to: &mut Vec<u8>, number: i64) {
        to.extend(b"\x8a\x08");
        to.extend(number.to_le_bytes());
    }
    fn tuple(to: &mut Vec<u8>, numbers: &[i64]) {
        to.push(b'(');
        numbers.iter().for_each(|&each| number(to, each));
        to.push(b't');
    }

    let mut to = b"\x80\x02}(".to_vec();
    for (key, claim) in claims.iter().enumerate() {
        text(&mut to, claim.name);
        to.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut to, "storage");
        to.extend(format!("ctorch\n{}\n", claim.class).bytes());
        text(&mut to, &key.to_string());
        text(&mut to, "cpu");
        number(&mut to, claim.elements);
        to.extend(b"tQ");
        number(&mut to, claim.offset);
        tuple(&mut to, claim.shape);
        tuple(&mut to, claim.strides);
        to.extend(b"\x89}tR");
    }
    to.extend(b"u.");
    to
}

/// The archive that `torch.save` writes, with these members of numbers.
fn zip(pickle: &[u8], members: &[&[f32]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut archive = Archive::new(&mut bytes);
    archive.member("data.pkl", pickle).unwrap();
    for (key, numbers) in members.iter().enumerate() {
        let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        archive.member(&format!("data/{key}"), &numbers).unwrap();
    }
    archive.finish().unwrap();
    bytes
}

/// The file that PyTorch wrote before 1.6: pickles, and the numbers behind them.
fn legacy(pickle: &[u8], members: &[&[f32]]) -> Vec<u8> {
    let mut bytes = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    bytes.extend(b"\x80\x02M\xe9\x03."); // protocol 1001
    bytes.extend(b"\x80\x02}X\x0d\0\0\0little_endian\x88s.");
    bytes.extend(pickle);
    bytes.extend(b"\x80\x02]");
    for key in 0..members.len() {
        bytes.extend(b"X\x01\0\0\0");
        bytes.write_all(format!("{key}a").as_bytes()).unwrap();
    }
    bytes.push(b'.');
    for numbers in members {
        bytes.extend((numbers.len() as i64).to_le_bytes());
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    }
    bytes
}

type Container = fn(&[u8], &[&[f32]]) -> Vec<u8>;
const CONTAINERS: [(&str, Container); 2] = [("zip", zip), ("legacy", legacy)];

fn loaded(bytes: &[u8]) -> Result<ConvBlock, Error> {
    let (_folder, file) = scratch("hostile.pth");
    fs::write(&file, bytes).unwrap();
    load_exact(network(), &file, &[])
}

/// The message for a file of these bytes.
fn message(bytes: &[u8]) -> String {
    let message = loaded(bytes).unwrap_err().to_string();
    assert!(message.contains("hostile.pth"), "{message}");
    message
}

#[test]
fn the_true_file_is_read_from_both_containers() {
    for (container, build) in CONTAINERS {
        let block = loaded(&build(&pickled(&[WEIGHT, BIAS]), &[&[3.0], &[-1.0]])).unwrap();

        let y = block.conv.forward(Tensor::full([1, 1, 1, 1], 2.0, &device()));
        assert_eq!(y.into_scalar::<f32>(), 5.0, "{container}");
    }
}

#[test]
fn a_pickle_that_contradicts_itself_names_the_tensor_and_allocates_nothing() {
    let claim = |shape, strides| Claim { shape, strides, ..WEIGHT };
    let square: &[i64] = &[1 << 62, 1 << 62, 1 << 62, 1];
    for (claim, words) in [
        (Claim { elements: 1 << 30, ..WEIGHT }, "its storage claims 1073741824 elements"),
        (Claim { elements: 1 << 50, ..WEIGHT }, "its storage claims 1125899906842624 elements"),
        (Claim { elements: i64::MAX, ..WEIGHT }, "its storage claims"),
        (Claim { elements: -1, ..WEIGHT }, "its storage claims -1 elements"),
        (Claim { offset: 1, ..WEIGHT }, "at 1 is beyond its storage of 1 elements"),
        (Claim { offset: i64::MAX, ..WEIGHT }, "is beyond its storage"),
        (Claim { offset: -4, ..WEIGHT }, "at -4 is negative"),
        (claim(&[-1, 1, 1, 1], WEIGHT.strides), "is negative"),
        (claim(&[2, 1, 1, 1], &[-1, 1, 1, 1]), "is negative"),
        (claim(&[2, 1, 1, 1], WEIGHT.strides), "is beyond its storage"),
        (claim(&[1, 1, 1], WEIGHT.strides), "does not fit together"),
        (claim(square, &[0, 0, 0, 0]), "overflows"),
        (claim(square, &[i64::MAX; 4]), "overflows"),
        (claim(&[1 << 40, 1, 1, 1], &[0, 1, 1, 1]), "would be 4398046511104 bytes"),
        (Claim { class: "ComplexFloatStorage", ..WEIGHT }, "ComplexFloatStorage is not supported"),
    ] {
        for (container, build) in CONTAINERS {
            // A good tensor comes first: the bad one is found by its own name.
            let bytes = build(&pickled(&[BIAS, claim]), &[&[0.0], &[0.0]]);
            let message = frugal(|| message(&bytes));
            let wanted = message.contains("tensor `conv.weight`") && message.contains(words);
            assert!(wanted, "{container}: {message}");
        }
    }
}

#[test]
fn a_table_is_found_in_the_table_around_it() {
    let (_folder, file) = scratch("nested.pth");
    let inner = |number: usize| {
        let claims = [Claim { name: "conv.bias", ..BIAS }, WEIGHT];
        let pickle = pickled(&claims);
        let body = pickle[2..pickle.len() - 1].to_vec();
        // The storages' names: 0 and 1, or 2 and 3.
        let mut body = body;
        for key in [b'0', b'1'] {
            let name = [b'X', 1, 0, 0, 0, key];
            let place = body.windows(6).position(|bytes| bytes == name).unwrap();
            body[place + 5] = key + 2 * number as u8;
        }
        body
    };
    let mut nested = b"\x80\x02}(X\x09\0\0\0model_ema".to_vec();
    nested.extend(inner(0));
    nested.extend(b"X\x05\0\0\0model");
    nested.extend(inner(1));
    nested.extend(b"u.");
    fs::write(&file, zip(&nested, &[&[1.0], &[2.0], &[3.0], &[4.0]])).unwrap();

    let (block, report) = load(network(), &file, &[]).unwrap();

    let y = block.conv.forward(Tensor::ones([1, 1, 1, 1], &device()));
    assert_eq!(y.into_scalar::<f32>(), 7.0, "{report}");
    assert_eq!(report.table.unwrap().others, ["model_ema"]);
}

#[test]
fn a_tensor_of_another_shape_is_not_even_read() {
    // Four gigabytes of the same number: allowed by the pickle, and nothing that the network holds.
    let spread = Claim { shape: &[1 << 30, 1, 1, 1], strides: &[0, 1, 1, 1], ..WEIGHT };
    for (container, build) in CONTAINERS {
        let bytes = build(&pickled(&[spread, BIAS]), &[&[0.0], &[0.0]]);
        let message = frugal(|| message(&bytes));
        assert!(
            message.contains("conv.weight ([1073741824, 1, 1, 1] in"),
            "{container}: {message}"
        );
    }
}

#[test]
fn a_nested_table_is_named_down_to_its_tensor() {
    let (_folder, file) = scratch("nested.pth");
    let inner = pickled(&[Claim { offset: 7, ..WEIGHT }]);
    // {"state_dict": {...}}, without the inner pickle's head and end.
    let mut nested = b"\x80\x02}(X\x0a\0\0\0state_dict".to_vec();
    nested.extend(&inner[2..inner.len() - 1]);
    nested.extend(b"u.");
    fs::write(&file, zip(&nested, &[&[0.0]])).unwrap();

    let message = load(network(), &file, &[]).unwrap_err().to_string();

    assert!(message.contains("tensor `state_dict.conv.weight`: shape"), "{message}");
}

#[test]
fn a_member_that_is_missing_short_or_altered_names_its_tensor() {
    let pickle = pickled(&[BIAS, WEIGHT]);
    let mut altered = zip(&pickle, &[&[0.0], &[123.0]]);
    let number = 123.0_f32.to_le_bytes();
    let place = altered.windows(4).position(|window| window == number).unwrap();
    altered[place + 3] ^= 1;
    for (bytes, words) in [
        (zip(&pickle, &[&[0.0]]), "not found"),
        (zip(&pickle, &[&[0.0], &[]]), "are available"),
        (altered, "checksum"),
    ] {
        let message = message(&bytes);
        let wanted = message.contains("tensor `conv.weight`") && message.contains(words);
        assert!(wanted, "{message}");
    }
}

/// `bytes` with `new` at `at` bytes after the last signature.
fn patched(bytes: &[u8], signature: &[u8], at: usize, new: &[u8]) -> Vec<u8> {
    let place = bytes.windows(4).rposition(|window| window == signature).unwrap() + at;
    let mut bytes = bytes.to_vec();
    bytes[place..place + new.len()].copy_from_slice(new);
    bytes
}

#[test]
fn an_archive_with_a_wrong_directory_is_refused_or_read_right_and_allocates_nothing() {
    let good = zip(&pickled(&[BIAS, WEIGHT]), &[&[2.0], &[3.0]]);
    let (end, entry) = (b"PK\x05\x06", b"PK\x01\x02");
    let most = u32::MAX.to_le_bytes();
    for (what, bytes) in [
        ("directory beyond the file", patched(&good, end, 16, &most[..3])),
        ("directory at the start", patched(&good, end, 16, &[0; 4])),
        ("directory too long", patched(&good, end, 12, &most)),
        ("too many members", patched(&good, end, 8, &[0xff, 0x7f, 0xff, 0x7f])),
        ("no end", good[..good.len() - 22].to_vec()),
        ("member of four gigabytes", patched(&good, entry, 24, &most[1..])),
        ("packed as four gigabytes", patched(&good, entry, 20, &[254, 255, 255, 255])),
        ("both", patched(&good, entry, 20, &[254, 255, 255, 255, 254, 255, 255, 255])),
        ("unknown method", patched(&good, entry, 10, &[99, 0])),
        ("member beyond the file", patched(&good, entry, 42, &most[..3])),
        ("name longer than the file", patched(&good, entry, 28, &[0xff, 0xff])),
    ] {
        // Some of it stands in two places; a reader that believes the true one reads the true file.
        if let Ok(block) = frugal(|| loaded(&bytes)) {
            let y = block.conv.forward(Tensor::ones([1, 1, 1, 1], &device()));
            assert_eq!(y.into_scalar::<f32>(), 5.0, "{what}");
        }
    }
}

#[test]
fn a_pickle_larger_than_its_file_is_refused_before_it_is_unpacked() {
    let mut bytes = zip(&pickled(&[BIAS, WEIGHT]), &[&[0.0], &[0.0]]);
    let place = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    bytes[place + 24..place + 28].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());

    let message = frugal(|| message(&bytes));

    assert!(message.contains("its pickle claims 2147483647 bytes"), "{message}");
}

#[test]
fn a_legacy_file_that_ends_early_is_refused_at_every_length() {
    let bytes = legacy(&pickled(&[BIAS, WEIGHT]), &[&[0.0], &[0.0]]);
    for length in 0..bytes.len() {
        assert!(loaded(&bytes[..length]).is_err(), "{length}");
    }
    let mut other = bytes.clone();
    let count = bytes.len() - 12;
    other[count] = 2; // elements before the last storage
    assert!(message(&other).contains("tensor `conv.weight`"), "{}", message(&other));
}

#[test]
fn files_with_flipped_bits_never_panic_and_stay_small() {
    for (_, build) in CONTAINERS {
        let bytes = build(&pickled(&[BIAS, WEIGHT]), &[&[0.0], &[0.0]]);
        let mut seed = 1_u64;
        frugal(|| {
            for _ in 0..2000 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let mut flipped = bytes.clone();
                flipped[(seed >> 33) as usize % bytes.len()] ^= 1 << (seed >> 61);
                let _ = loaded(&flipped);
            }
        });
    }
}

#[test]
fn deep_and_endless_pickles_end() {
    for body in [&b"]"[..], b"(", b")\x85", b"2", b"Nq\0h\0"] {
        let mut pickle = b"\x80\x02N".to_vec();
        pickle.extend(body.repeat(100_000));
        for (container, build) in CONTAINERS {
            assert!(loaded(&build(&pickle, &[])).is_err(), "{container}");
        }
    }
}
