//! Claims that aren't true behind something that the check might stop at.

use super::*;

/// A pickle of one good tensor and one with a storage of four gigabytes, with `before` between them.
fn after(before: &[u8]) -> Vec<u8> {
    let bad = pickled(&[Claim { elements: 1 << 30, ..WEIGHT }]);
    let good = pickled(&[BIAS]);
    // Without the end of the one and the head of the other.
    [&good[..good.len() - 2], before, &bad[4..]].concat()
}

#[test]
fn operations_without_effect_do_not_hide_what_comes_after_them() {
    for (container, build) in CONTAINERS {
        // More than a million, whatever stands where a tensor may.
        let bytes = build(&after(&b"N0".repeat(600_000)), &[&[0.0], &[0.0]]);
        let message = frugal(|| message(&bytes));
        let wanted = message.contains("tensor `conv.weight`: its storage claims 1073741824");
        assert!(wanted, "{container}: {message}");
    }
}

#[test]
fn a_pickle_that_cannot_be_followed_to_its_end_is_refused() {
    for (before, words) in [
        (b"N0".repeat(1 << 21), "more than 4194304 operations"),
        (b"\x82\x01".to_vec(), "operation 0x82 is unknown"), // an extension of Python's registry
        (b"\xff".to_vec(), "operation 0xff is unknown"),
        (b"h\x7f".to_vec(), "invalid data"), // nothing is remembered under that number
    ] {
        for (container, build) in CONTAINERS {
            let bytes = build(&after(&before), &[&[0.0], &[0.0]]);
            let message = frugal(|| message(&bytes));
            let refused = message.contains("its pickle can't be followed");
            assert!(refused && message.contains(words), "{container}: {message}");
        }
    }
}

#[test]
fn a_harmless_archive_behind_a_pickle_or_a_second_pickle_does_not_stand_for_it() {
    let harmless = zip(&pickled(&[BIAS, WEIGHT]), &[&[0.0], &[0.0]]);
    let hostile = after(b"");
    let behind = [legacy(&hostile, &[&[0.0], &[0.0]]), harmless].concat();
    assert!(message(&behind).contains("tensor `conv.weight`: its storage claims"));

    let mut two = Vec::new();
    let mut archive = Archive::new(&mut two);
    archive.member("harmless/data.pkl", &pickled(&[BIAS])).unwrap();
    archive.member("data.pkl", &hostile).unwrap();
    archive.finish().unwrap();
    assert!(message(&two).contains("it has 2 pickles"), "{}", message(&two));
}

#[test]
fn a_tensor_of_a_class_of_ones_own_is_looked_at_too() {
    let plain = pickled(&[Claim { elements: 1 << 30, ..WEIGHT }]);
    let call = b"ctorch._utils\n_rebuild_tensor_v2\n";
    let start = plain.windows(call.len()).position(|bytes| bytes == call).unwrap();
    let arguments = &plain[start + call.len()..plain.len() - 3];
    let mut pickle = plain[..start].to_vec();
    pickle.extend(b"ctorch._tensor\n_rebuild_from_type_v2\n(");
    pickle.extend([call, &b"ctorch\nTensor\n"[..], arguments, b"}tRu."].concat());

    let message = frugal(|| message(&zip(&pickle, &[&[0.0]])));

    assert!(message.contains("tensor `conv.weight`: its storage claims"), "{message}");
}

#[test]
fn a_packed_member_is_room_for_what_it_may_unpack_to_and_no_more() {
    let pack = |claim: Claim, numbers: usize| {
        let mut bytes = io::Cursor::new(Vec::new());
        let mut archive = ::zip::ZipWriter::new(&mut bytes);
        let packed = ::zip::write::SimpleFileOptions::default()
            .compression_method(::zip::CompressionMethod::Deflated);
        for (name, content) in [
            ("a/data.pkl", pickled(&[claim])),
            ("a/data/0", vec![0; 4 * numbers]),
            ("a/data/1", vec![0; 4]),
        ] {
            archive.start_file(name, packed).unwrap();
            archive.write_all(&content).unwrap();
        }
        archive.finish().unwrap();
        bytes.into_inner()
    };
    // Sixteen thousand zeros are a few dozen bytes: more than the file, and right.
    let many = Claim { elements: 1 << 14, ..WEIGHT };
    let bytes = pack(many, 1 << 14);
    assert!(bytes.len() < 1 << 14);
    let message_of = |bytes: &[u8]| frugal(|| message(bytes));
    assert!(message_of(&bytes).contains("missing: conv.bias"), "{}", message_of(&bytes));

    let bytes = pack(Claim { elements: 1 << 30, ..WEIGHT }, 1 << 14);
    assert!(message_of(&bytes).contains("the file has room for 65536"), "{}", message_of(&bytes));

    // Nor does it help to claim that the member is larger.
    let place = bytes.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    let place = bytes[..place].windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    let mut claimed = bytes.clone();
    claimed[place + 24..place + 28].copy_from_slice(&u32::MAX.to_le_bytes()[..]);
    claimed[place + 24] = 0xfe;
    assert!(message_of(&claimed).contains("tensor `conv.weight`: its storage claims 1073741824"));
}
