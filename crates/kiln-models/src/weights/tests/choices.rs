//! What of a file is taken, where it has more than the network needs or several of it.

use super::*;
use crate::googlenet::{self, Edition, GoogLeNet, GoogLeNetConfig};

fn small_googlenet(aux: bool) -> GoogLeNet {
    let config = GoogLeNetConfig::new(Edition::BatchNorm).with_width(1).with_num_classes(3);
    config.with_aux(aux).init(&device())
}

#[test]
fn auxiliary_heads_of_a_file_are_left_out_by_name_where_the_network_has_none() {
    let (_folder, file) = scratch("googlenet.pth");
    let trained = small_googlenet(true);
    export(&trained, &file, googlenet::KEYS).unwrap();

    let (model, report) = load_classifier(small_googlenet(false), &file, googlenet::KEYS).unwrap();

    assert!(report.is_exact() && report.has_choices(), "{report}");
    let aux = parameters(&trained).iter().filter(|p| is_below(&p.path, "aux")).count();
    assert_eq!((report.left_out.len(), aux), (18, 18));
    let message = report.to_string();
    assert!(message.contains("of auxiliary heads: aux1.conv.conv.weight, "), "{message}");
    let images = noise([2, 3, 64, 64], 1, &device());
    let scores = model.forward(images.clone()).to_data();
    scores.assert_eq(&trained.forward(images).to_data(), true);
}

#[test]
fn a_network_without_auxiliary_heads_does_not_expect_any() {
    let (_folder, file) = scratch("more.safetensors");
    save(&tiny(4), &file).unwrap();
    let mut tensors = read_tensors(&file).unwrap();
    tensors.insert("aux.0.weight".to_owned(), TensorData::from([1.0_f32]));
    write_tensors(&file, tensors).unwrap();

    let (_, report) = load_classifier(tiny(4), &file, &[]).unwrap();

    assert_eq!(
        (report.is_exact(), &report.unexpected[..]),
        (false, &["aux.0.weight".to_owned()][..])
    );
    assert!(report.left_out.is_empty(), "{report}");
}

#[test]
fn a_file_that_kiln_wrote_is_known_as_such() {
    let (_folder, file) = scratch("own.safetensors");
    save(&tiny(4), &file).unwrap();
    assert!(load(tiny(4), &file, &[]).unwrap().1.native);
    export(&tiny(4), &file, KEYS).unwrap();
    assert!(!load(tiny(4), &file, KEYS).unwrap().1.native);
}

/// The weights of `model` under PyTorch's names, each beginning with `table`.
fn table(model: &LeNet5, table: &str) -> Vec<Entry> {
    let mut tensors = foreign(model, KEYS);
    tensors.iter_mut().for_each(|tensor| tensor.name.insert_str(0, table));
    tensors
}

/// One number called `name`.
fn number(name: &str) -> Entry {
    bridge::from_data(TensorData::from([3.0_f32]), name.to_owned(), None)
}

#[test]
fn a_training_checkpoint_gives_its_weights_and_averages_only_for_want_of_them() {
    let (_folder, file) = scratch("checkpoint.pth");
    let (now, average) = (tiny(4), tiny(4));
    let joined = |parts: [Vec<Entry>; 2]| parts.into_iter().flatten().collect::<Vec<_>>();
    let both = |names: [&str; 2]| joined([table(&now, names[0]), table(&average, names[1])]);
    let momentum = || number("optimizer.state.0.momentum_buffer");
    let averaged = || number("model_ema.n_averaged");
    for (tensors, wanted, words) in [
        (joined([table(&now, "model."), vec![momentum()]]), &now, None),
        (table(&now, "state_dict.module."), &now, None),
        (
            joined([both(["model.", "model_ema.module."]), vec![averaged(), momentum()]]),
            &now,
            Some("the weights of `model` are taken, not those of `model_ema`"),
        ),
        (
            both(["state_dict.", "state_dict_ema."]),
            &now,
            Some("the weights of `state_dict` are taken, not those of `state_dict_ema`"),
        ),
        (
            joined([table(&average, "model_ema.module."), vec![averaged(), momentum()]]),
            &average,
            Some("the weights of `model_ema`, a running average, are taken"),
        ),
        (
            table(&average, "state_dict_ema."),
            &average,
            Some("the weights of `state_dict_ema`, a running average, are taken"),
        ),
    ] {
        write_file(&file, |out| pytorch::write(out, tensors)).unwrap();

        let (model, report) = load(tiny(4), &file, KEYS).unwrap();

        assert!(report.is_exact(), "{report}");
        assert!(to_bytes(&model) == to_bytes(wanted), "other weights than those wanted: {report}");
        assert_eq!(report.has_choices(), words.is_some(), "{report}");
        assert!(report.to_string().ends_with(words.unwrap_or("14 tensors loaded")), "{report}");
    }
}

#[test]
fn auxiliary_heads_that_a_file_lacks_are_missing_by_name() {
    let (_folder, file) = scratch("googlenet.pth");
    export(&small_googlenet(false), &file, googlenet::KEYS).unwrap();

    let message =
        load_exact(small_googlenet(true), &file, googlenet::KEYS).unwrap_err().to_string();

    assert!(message.contains("missing: aux1.conv.conv.weight ["), "{message}");
    // Training may begin without them.
    let (_, report) = load_backbone(small_googlenet(true), &file, googlenet::KEYS).unwrap();
    assert_eq!(report.missing.len(), 18, "{report}");
}
