//! `kiln convert`: from kiln's names to PyTorch's and back.

use std::fs;

use safetensors::SafeTensors;

use kiln::burn::tensor::Device;
use kiln::models::{Registry, Zoo, weights};

use crate::{json, keys, kiln, short_run, text};

#[test]
fn a_run_becomes_a_pytorch_file_and_the_same_weights_again() {
    let folder = tempfile::tempdir().unwrap();
    let [pth, kiln] = ["a.pth", "b.safetensors"].map(|name| folder.path().join(name));

    let object = json(0, ["convert", text(&short_run()), text(&pth)]);
    let names = ["input", "left_out", "model", "names", "output", "parameters", "tensors"];
    assert_eq!(keys(&object), names);
    assert_eq!((&object["model"], &object["parameters"]), (&"lenet5".into(), &61_750.into()));
    assert!(fs::read(&pth).unwrap().starts_with(b"PK"));

    let back = ["convert", text(&pth), text(&kiln), "--model", "lenet5", "--names", "kiln"];
    assert_eq!(json(0, back)["tensors"], 14);
    let original = short_run().join("checkpoints/best/model.safetensors");
    assert_eq!(fs::read(&kiln).unwrap(), fs::read(original).unwrap());
}

#[test]
fn a_checkpoints_weights_are_named_as_pytorch_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.safetensors");
    let weights = short_run().join("checkpoints/best/model.safetensors");

    json(0, ["convert", text(&weights), text(&file)]);

    let bytes = fs::read(&file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.tensor("f6.weight").unwrap().shape(), [84, 120]);
}

#[test]
fn darknets_files_come_out_of_safetensors_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let layers = "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\npad=1\nactivation=leaky\n[avgpool]\n\
        [connected]\noutput=14\nactivation=linear\n[yolo]\nmask=0,1\nanchors=4,4, 5,5\nclasses=2\nnum=2\n";
    // A comment in no encoding that is one.
    let cfg =
        [&b"# caf\xe9\r\n[net]\nwidth=8\nheight=8\nchannels=3\n"[..], layers.as_bytes()].concat();
    fs::write(at("a.cfg"), &cfg).unwrap();
    let floats = 4 * 4 + 4 * 27 + 14 + 4 * 14;
    let mut bytes: Vec<u8> = [0_i32, 1, 7].iter().flat_map(|part| part.to_le_bytes()).collect();
    bytes.extend(123_456_u32.to_le_bytes());
    bytes.extend((0..floats).flat_map(|at| (0.25 + at as f32 / 64.0).to_le_bytes()));
    fs::write(at("a.weights"), &bytes).unwrap();
    let model = ["--model".to_owned(), text(&at("a.cfg")).to_owned()];

    for (file, names) in [("kiln.safetensors", "kiln"), ("pytorch.safetensors", "pytorch")] {
        let mut call = vec!["convert".to_owned(), text(&at("a.weights")).to_owned()];
        call.extend([text(&at(file)).to_owned(), "--names".to_owned(), names.to_owned()]);
        call.extend(model.clone());
        let object = json(0, call.iter().map(String::as_str));
        assert_eq!(object["parameters"], floats - 8); // running statistics are none
        let [weights, written] = ["weights", "cfg"].map(|ending| at(&format!("{names}.{ending}")));
        json(0, ["convert", text(&at(file)), text(&weights)]);
        json(0, ["convert", text(&at(file)), text(&written)]);
        assert!(fs::read(&weights).unwrap() == bytes, "{names}");
        assert!(fs::read(&written).unwrap() == cfg, "{names}");
    }
    let [weights, again] = ["a.weights", "again.weights"].map(at);
    let call = ["convert", text(&weights), text(&again), &model[0], &model[1]];
    json(0, call);
    assert!(fs::read(&again).unwrap() == bytes);
    json(2, call); // nothing is overwritten unasked
    json(2, ["convert", text(&weights), text(&at("b.pth"))]); // which network?
    json(2, ["convert", text(&weights), text(&at("b.cfg")), "--model", "yolov3"]);
    json(2, ["convert", text(&weights), text(&at("b.pth")), "--model", "lenet5"]);
}

#[test]
fn what_cannot_be_converted_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let run = short_run();
    json(0, ["convert", text(&run), &file("a.pth")]);
    let error = |status, arguments: &[&str]| {
        let all = ["convert"].into_iter().chain(arguments.iter().copied());
        json(status, all)["error"].as_str().unwrap().to_owned()
    };

    assert!(error(2, &[text(&run), &file("b.onnx")]).contains("b.onnx"));
    assert!(error(2, &[text(&run), &file("b.pth"), "--names", "kiln"]).contains("kiln's names"));
    assert!(error(2, &[text(&run), &file("b.pth"), "--set", "num_classes=3"]).contains("options"));
    assert!(error(2, &[&file("a.pth"), &file("b.pth")]).contains("which network"));
    assert!(error(2, &[&file("a.pth"), &file("b.pth"), "--model", "lenet6"]).contains("`lenet5`"));
    assert!(error(2, &[text(&run), &file("b.pth"), "--model", "lenet5"]).contains("folder"));
    let classes = ["--model", "lenet5", "--set", "num_classes=3"];
    let [from, to] = [file("a.pth"), file("b.pth")];
    let object = json(1, [&["convert", &*from, &*to], &classes[..]].concat());
    let message = object["error"].as_str().unwrap();
    assert!(message.ends_with("12 tensors loaded, 2 misshapen"), "{message}");
    // PyTorch's name and layout, which are the file's.
    let weight = "misshapen output.weight ([10, 84] in the file, [3, 84] wanted)";
    assert_eq!(object["details"][0], weight, "{object}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn auxiliary_heads_that_are_left_out_are_told_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let [input, output] = ["a.pth", "b.pth"].map(|name| folder.path().join(name));
    let options = serde_json::json!({ "width": 1, "num_classes": 3, "aux": true });
    let options = options.as_object().unwrap();
    let network = Zoo.build("googlenet", options, &Device::default()).unwrap();
    weights::export(&network, &input, Zoo.keys("googlenet", options).unwrap()).unwrap();
    let narrow = ["--set", "width=1", "--set", "num_classes=3", "--force", "--json"];
    let convert = |set: &[&str]| {
        let call = ["convert", text(&input), text(&output), "--model", "googlenet"];
        let output = kiln(call.into_iter().chain(narrow).chain(set.iter().copied())).output();
        let output = output.unwrap();
        let notes = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{notes}");
        (serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap(), notes)
    };

    let (without, notes) = convert(&[]);
    assert!(
        notes.contains("18 tensors of auxiliary heads") && notes.contains("--set aux=true"),
        "{notes}"
    );
    assert_eq!(without["left_out"].as_array().unwrap().len(), 18);
    assert_eq!(without["left_out"][0], "aux1.conv.conv.weight");

    let (with, notes) = convert(&["--set", "aux=true"]);
    assert_eq!((notes.as_str(), with["left_out"].as_array().unwrap().len()), ("", 0));
    let more = |key: &str| with[key].as_u64().unwrap() - without[key].as_u64().unwrap();
    assert_eq!(more("tensors"), 20, "18, and a counter for each of two norms");
    assert!(more("parameters") > 0);
}
