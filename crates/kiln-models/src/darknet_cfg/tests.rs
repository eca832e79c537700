//! Networks of every kind of layer, the papers' networks, and files that are none.

use super::*;
use crate::weights::darknet::{self, Header};
use kiln_testkit::{assert_close, device, noise};

fn cfg(text: &str) -> DarknetCfg {
    DarknetCfg::parse(text, Path::new("a.cfg")).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(text: &str) -> String {
    DarknetCfg::parse(text, Path::new("a.cfg")).unwrap_err().to_string()
}

fn net(side: usize, layers: &str) -> String {
    format!("[net]\nwidth={side}\nheight={side}\nchannels=3\n{layers}")
}

/// A convolution as darknet's detectors have them: leaky, normalized, padded.
fn conv(filters: usize, size: usize, stride: usize) -> String {
    format!(
        "[convolutional]\nbatch_normalize=1\nfilters={filters}\nsize={size}\nstride={stride}\npad=1\nactivation=leaky\n"
    )
}

fn scores(filters: usize) -> String {
    format!("[convolutional]\nfilters={filters}\nsize=1\nactivation=linear\n")
}

const POOL: &str = "[maxpool]\nsize=2\nstride=2\n";
const ANCHORS: &str = "10,13, 16,30, 33,23, 30,61, 62,45, 59,119, 116,90, 156,198, 373,326";

/// Table 6 of the YOLO9000 paper and the layers that §2 puts behind it: a passthrough of 64 channels.
fn yolov2() -> String {
    let mut text = conv(32, 3, 1) + POOL + &conv(64, 3, 1) + POOL;
    for (wide, narrow, pairs) in [(128, 64, 1), (256, 128, 1), (512, 256, 2)] {
        text += &conv(wide, 3, 1);
        text += &(conv(narrow, 1, 1) + &conv(wide, 3, 1)).repeat(pairs);
        text += POOL;
    }
    text += &conv(1024, 3, 1);
    text += &(conv(512, 1, 1) + &conv(1024, 3, 1)).repeat(2);
    text += &conv(1024, 3, 1).repeat(2);
    // Layer 16 is the last map of 26×26 pixels.
    text += &format!(
        "[route]\nlayers=16\n{}[reorg]\nstride=2\n[route]\nlayers=-1,24\n",
        conv(64, 1, 1)
    );
    text += &(conv(1024, 3, 1) + &scores(425));
    text += "[region]\nanchors=.57,.68, 1.87,2.06, 3.34,5.47, 7.88,3.53, 9.77,9.17\nclasses=80\nnum=5\nsoftmax=1\n";
    net(416, &text)
}

/// Table 1 of the YOLOv3 paper without its classifier, and three heads on its strides 32, 16 and 8.
fn yolov3() -> String {
    let mut text = conv(32, 3, 1);
    for (wide, units) in [(64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)] {
        text += &conv(wide, 3, 2);
        let unit =
            conv(wide / 2, 1, 1) + &conv(wide, 3, 1) + "[shortcut]\nfrom=-3\nactivation=linear\n";
        text += &unit.repeat(units);
    }
    for (wide, mask, lateral) in [(1024, "6,7,8", 61), (512, "3,4,5", 36), (256, "0,1,2", 0)] {
        text += &(conv(wide / 2, 1, 1) + &conv(wide, 3, 1)).repeat(3);
        text += &(scores(255)
            + &format!("[yolo]\nmask={mask}\nanchors={ANCHORS}\nclasses=80\nnum=9\n"));
        if lateral > 0 {
            text += &format!(
                "[route]\nlayers=-4\n{}[upsample]\nstride=2\n[route]\nlayers=-1,{lateral}\n",
                conv(wide / 4, 1, 1)
            );
        }
    }
    net(416, &text)
}

#[test]
fn every_number_of_the_published_files_has_its_place() {
    let (v2, v3) = (cfg(&yolov2()), cfg(&yolov3()));

    assert_eq!((v2.floats(), v3.floats()), (50_983_561, 62_001_757));
    assert_eq!(v2.shapes().last(), Some([425, 13, 13]));
    let boxes: usize = v3
        .heads()
        .iter()
        .zip(v3.shapes().filter(|shape| shape[0] == 255).step_by(2))
        .map(|(head, [_, h, w])| head.anchors.len() * h * w)
        .sum();
    assert_eq!(boxes, 10_647);
}

#[test]
fn trainable_parameters_are_those_of_the_papers_networks() {
    for (text, expected) in [(yolov2(), 50_962_889), (yolov3(), 61_949_149)] {
        assert_eq!(crate::trainable(&cfg(&text).init(&device())), expected);
    }
}

/// Every kind of layer, small.
fn all_kinds() -> String {
    let mut text = conv(4, 3, 2) + &conv(4, 1, 1).replace("leaky", "linear");
    text += "[dropout]\nprobability=.2\n[shortcut]\nfrom=-3\nactivation=leaky\n[maxpool]\nsize=5\nstride=1\n";
    text += "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n[route]\nlayers=-1,3\n";
    text += &conv(8, 3, 1).replace("leaky", "mish").replace("pad=1", "pad=1\ngroups=2");
    text += "[reorg]\nstride=2\n[upsample]\nstride=2\n[maxpool]\nsize=2\nstride=1\n";
    text +=
        "[avgpool]\n[connected]\noutput=6\nactivation=relu\nbatch_normalize=1\n[softmax]\n[cost]\n";
    net(16, &text)
}

#[test]
fn every_kind_of_layer_has_the_shape_that_was_planned() {
    let cfg = cfg(&all_kinds());
    let shapes: Vec<_> = cfg.shapes().collect();
    let expected = [
        [4, 8, 8],
        [4, 8, 8],
        [4, 8, 8],
        [4, 8, 8],
        [4, 8, 8],
        [2, 8, 8],
        [6, 8, 8],
        [8, 8, 8],
        [32, 4, 4],
        [32, 8, 8],
        [32, 8, 8],
        [32, 1, 1],
        [6, 1, 1],
        [6, 1, 1],
        [6, 1, 1],
    ];
    assert_eq!(shapes, expected);

    let out = cfg.init(&device()).forward(noise([2, 3, 16, 16], 1, &device())).remove(0);

    assert_eq!(out.dims(), [2, 6, 1, 1]);
    assert_close(out.sum_dim(1), Tensor::ones([2, 1, 1, 1], &device()));
}

#[test]
fn a_shortcut_computed_along_changes_nothing() {
    let network = cfg(&all_kinds()).init(&device());
    let mut apart = network.clone();
    apart.plan.layers.iter_mut().for_each(|layer| layer.sum = None);
    assert!(network.plan.layers[1].sum == Some(3));
    let x = noise([1, 3, 16, 16], 2, &device());

    assert_close(network.forward(x.clone()).remove(0), apart.forward(x).remove(0));
}

#[test]
fn weights_come_back_byte_for_byte() {
    let cfg = cfg(&all_kinds());
    for header in [
        Header::default(),
        Header { version: [0, 1, 0], seen: 77 },
        Header { version: [0, 2, 0], seen: 1 << 40 },
    ] {
        let mut bytes = darknet::to_bytes(&cfg.init(&device()), header);
        let start = bytes.len() - 4 * cfg.floats();
        assert_eq!(start, if header.version[1] < 2 { 16 } else { 20 });
        // Any bits, so that nothing can stand for anything else; no NaN whose bits a processor changes.
        for (at, byte) in bytes[start..].iter_mut().enumerate() {
            *byte = if at % 4 == 3 { 0x3c } else { (at * 31 % 251) as u8 };
        }

        let (network, read) = darknet::from_bytes(cfg.init(&device()), &bytes).unwrap();

        assert_eq!((read.header, read.floats, read.layers), (header, cfg.floats(), read.of));
        assert!(darknet::to_bytes(&network, read.header) == bytes);
    }
}

#[test]
fn a_file_may_end_after_a_layer_and_nowhere_else() {
    let cfg = cfg(&all_kinds());
    let bytes = darknet::to_bytes(&cfg.init(&device()), Header::default());
    let read = |length: usize| {
        darknet::from_bytes(cfg.init(&device()), &bytes[..length]).map(|(_, read)| read.layers)
    };
    let first = 20 + 4 * (4 * 4 + 4 * 3 * 9);
    assert_eq!((read(20), read(first), read(bytes.len())), (Ok(0), Ok(1), Ok(4)));
    assert!(read(first + 4).unwrap_err().contains("within layer 2 of 4"));
    for length in [0, 15, 19, first - 1] {
        assert!(read(length).is_err(), "{length}");
    }
    let longer = [&bytes[..], &[0; 4]].concat();
    let error = darknet::from_bytes(cfg.init(&device()), &longer).unwrap_err();
    assert!(error.starts_with("1 of its"), "{error}");
}

#[test]
fn reorg_has_darknets_order_and_a_way_back() {
    // Channel k of the result is its own k-th part of the map read as one of a quarter of the channels: for 4 channels of
    // 2×2 pixels, element (k, row, column) is that at row 2·row + k / 2, column 2·column + k % 2 of a 4×4 map.
    let x = Tensor::<1, Int>::arange(0..16, &device()).float().reshape([1, 4, 2, 2]);
    let y = reorg(x.clone(), 2);
    assert_eq!(y.dims(), [1, 16, 1, 1]);
    let values: Vec<f32> = y.into_data().iter().collect();
    let expected: Vec<f32> = (0..16)
        .map(|at| {
            let (k, row, column) = (at / 4, at / 2 % 2, at % 2);
            ((2 * row + k / 2) * 4 + 2 * column + k % 2) as f32
        })
        .collect();
    assert_eq!(values, expected);

    let x = noise([2, 8, 4, 6], 1, &device());
    assert_eq!(spread(x.clone(), 2).dims(), [2, 2, 8, 12]);
    let once = reorg(x.clone(), 2).reshape([2, 8, 4, 6]);
    assert_close(spread(once, 2).reshape([2, 8, 4, 6]), x);
}

#[test]
fn an_even_window_looks_right_and_down() {
    let x = noise([1, 2, 5, 5], 3, &device());
    for (stride, side) in [(1, 5), (2, 3)] {
        let pool = Pool { size: 2, stride, before: 0, after: 1 };
        let y = max_pool(x.clone(), pool);
        assert_eq!(y.dims(), [1, 2, side, side]);
        let window = x.clone().slice(s![.., .., 2..4, 2..4]).max_dim(2).max_dim(3);
        assert_close(
            y.slice(s![.., .., 2 / stride..2 / stride + 1, 2 / stride..2 / stride + 1]),
            window,
        );
    }
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    for (text, line, what) in [
        ("", 1, "must begin with [net]"),
        ("width=3", 1, "must begin with [net]"),
        ("[yolo]\n", 1, "expected [net]"),
        ("[net]\nwidth=32\n[avgpool]\n", 1, "needs height"),
        ("[net\n", 1, "has no `]`"),
        (&net(8, ""), 1, "no layer"),
        (&net(8, "what\n"), 5, "key=value"),
        (&net(8, "[lstm]\n"), 5, "[lstm]"),
        (&net(8, "[convolutional]\nfilters=0\n"), 6, "filters"),
        (&net(8, "[convolutional]\nfilters=-3\n"), 6, "filters"),
        (&net(8, "[convolutional]\nfilters=99999999999999999999\n"), 6, "filters"),
        (&net(8, "[convolutional]\nfilters=4\ngroups=2\n"), 7, "groups"),
        (&net(8, "[convolutional]\nactivation=what\n"), 6, "activation"),
        (&net(8, "[convolutional]\nsize=9\n"), 5, "windows of 9"),
        (&net(8, "[route]\nlayers=-1\n"), 6, "this is layer 0"),
        (&net(8, "[route]\n"), 5, "needs layers"),
        (&net(8, "[avgpool]\n[route]\nlayers=0,x\n"), 7, "`x`"),
        (&net(8, "[avgpool]\n[shortcut]\nfrom=7\n"), 7, "layer 7"),
        (&net(8, "[dropout]\n[avgpool]\n[shortcut]\nfrom=0\n"), 8, "shapes must be equal"),
        (&net(8, "[reorg]\nstride=3\n"), 6, "apart by 3"),
        (&net(8, "[dropout]\nprobability=1\n"), 6, "probability"),
        (&net(8, "[yolo]\nclasses=80\nnum=1\nanchors=1,2\n"), 5, "85 channels, found 3"),
        (&net(8, "[yolo]\nnum=3\nanchors=1,2\n"), 7, "3 pairs"),
        (&net(8, "[upsample]\nstride=16384\n[upsample]\nstride=16384\n"), 5, "too large"),
    ] {
        let message = refusal(text);
        assert!(message.contains(&format!("line {line}: ")) && message.contains(what), "{message}");
    }
}

#[test]
fn a_network_of_absurd_size_is_refused_before_anything_is_built() {
    let wide = "[convolutional]\nfilters=1048576\nsize=3\npad=1\n".repeat(3);
    let message = refusal(&net(2, &wide));
    assert!(message.contains("parameters"), "{message}");
}

#[test]
fn mutilated_files_are_read_or_refused_and_never_panic() {
    let whole = [all_kinds(), yolov2(), yolov3()];
    let mut state = 7_u64;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    let pieces = [
        "0",
        "-1",
        "9999999",
        "[route]\nlayers=-1",
        "=",
        "groups=3\n",
        "\n",
        ",",
        "[",
        "size=77\n",
        "é",
        "1e9",
    ];
    let (mut read, mut refused) = (0, 0);
    for round in 0..3000 {
        let mut text = whole[round % 3].clone();
        for _ in 0..=draw(3) {
            let from = (0..=draw(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap();
            let to = (from..=text.len().min(from + draw(12)))
                .rev()
                .find(|&at| text.is_char_boundary(at));
            text.replace_range(from..to.unwrap(), pieces[draw(pieces.len())]);
        }
        match DarknetCfg::parse(&text, Path::new("a.cfg")) {
            Ok(cfg) => read += usize::from(cfg.floats() > 0),
            Err(error) => refused += usize::from(error.to_string().contains("line ")),
        }
    }
    assert!(read > 100 && refused > 1000, "{read} {refused}");
}
