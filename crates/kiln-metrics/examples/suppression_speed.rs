//! How long non-maximum suppression of 10,000 boxes takes, where most of them stay and where few do.
//!
//! `cargo build --release --workspace --examples`, then `target/release/examples/suppression_speed`; the boxes are those of
//! the Python lines that it prints, which measure torchvision.ops.nms.

use std::time::Instant;

use kiln_metrics::{BoundingBox, suppress};

const PYTHON: &str = "
import time, torch, torchvision
def boxes(field):
    state, out = 1, []
    def draw():
        nonlocal state
        state = (state * 1103515245 + 12345) % 2**31
        return state / 2**31
    for _ in range(10000):
        x, y, w, h = draw() * field, draw() * field, 10 + 90 * draw(), 10 + 90 * draw()
        out.append([x, y, x + w, y + h, draw()])
    return torch.tensor(out)
for field in [500, 2000, 20000]:
    b = boxes(field); runs = []
    for _ in range(21):
        t = time.perf_counter(); kept = torchvision.ops.nms(b[:, :4], b[:, 4], 0.45); runs.append(time.perf_counter() - t)
    print(field, len(kept), f'{1000 * sorted(runs)[10]:.2f} ms')
";

fn main() {
    for field in [500.0, 2000.0, 20_000.0] {
        let mut state = 1_u64;
        let mut draw = || {
            state = (state * 1_103_515_245 + 12_345) % (1 << 31);
            state as f64 / f64::from(1_u32 << 31)
        };
        let (mut boxes, mut scores) = (Vec::new(), Vec::new());
        for _ in 0..10_000 {
            let (x, y) = (draw() * field, draw() * field);
            let (width, height) = (10.0 + 90.0 * draw(), 10.0 + 90.0 * draw());
            boxes.push(BoundingBox::from_origin([x, y, width, height]));
            scores.push(draw() as f32);
        }
        let mut kept = 0;
        let mut runs: Vec<_> = (0..21)
            .map(|_| {
                let start = Instant::now();
                kept = suppress(&boxes, &scores, 0.45).len();
                start.elapsed()
            })
            .collect();
        runs.sort();
        println!("{field} {kept} {:.2} ms", 1000.0 * runs[10].as_secs_f64());
    }
    println!("{PYTHON}");
}
