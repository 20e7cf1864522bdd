//! The fuzz targets on the inputs that libFuzzer kept, and on changed ones: the same in every run.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use compose_scale::files;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg32;

#[expect(unreachable_pub, reason = "it is a crate for libFuzzer")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

/// Every file below a folder of the repository, in a fixed order.
fn files_below(folder: &str) -> Vec<Vec<u8>> {
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut paths = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let read = |path: &PathBuf| fs::read(path).expect("a file of the repository");
    paths.iter().map(read).collect()
}

/// One to four changes: a part cut out, doubled, moved to another place, taken from another input; a bit or
/// a byte that is another.
fn changed(rng: &mut Pcg32, inputs: &[Vec<u8>]) -> Vec<u8> {
    let mut data = inputs[rng.random_range(0..inputs.len())].clone();
    for _ in 0..rng.random_range(1..=4) {
        let other = &inputs[rng.random_range(0..inputs.len())];
        let source = if rng.random() {
            data.clone()
        } else {
            other.clone()
        };
        let part = part(rng, source.len());
        let at = rng.random_range(0..=data.len());
        match rng.random_range(0..5) {
            0 => drop(data.splice(at..at, source[part].iter().copied())),
            1 => {
                let until = data.len().min(at + rng.random_range(0..32));
                data.drain(at..until);
            }
            2 => {
                let until = data.len().min(at + part.len());
                data.splice(at..until, source[part].iter().copied());
            }
            3 if at < data.len() => data[at] ^= 1 << rng.random_range(0..8),
            _ if at < data.len() => data[at] = rng.random(),
            _ => {}
        }
    }
    data
}

/// Most parts are short.
fn part(rng: &mut Pcg32, length: usize) -> std::ops::Range<usize> {
    let from = rng.random_range(0..=length);
    let longest = if rng.random_range(0..8) == 0 {
        length
    } else {
        32
    };
    from..length.min(from + rng.random_range(0..=longest))
}

fn holds(name: &str, target: fn(&[u8]), inputs: &[Vec<u8>], changes: usize) {
    assert!(!inputs.is_empty(), "no inputs for {name}");
    let mut rng = Pcg32::seed_from_u64(1);
    let all = inputs.iter().cloned();
    for data in all.chain((0..changes).map(|_| changed(&mut rng, inputs))) {
        if catch_unwind(AssertUnwindSafe(|| target(&data))).is_err() {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
            files::replace(&path, &data).expect("the input is kept");
            panic!("`scripts/fuzz {name} {}` repeats it", path.display());
        }
    }
}

#[test]
fn decisions_hold() {
    holds(
        "decision",
        targets::decision,
        &files_below("fuzz/corpus/decision"),
        20_000,
    );
}

#[test]
fn interpolation_holds() {
    let inputs = files_below("fuzz/corpus/interpolation");
    holds("interpolation", targets::interpolation, &inputs, 50_000);
}

#[test]
fn the_loader_holds() {
    let mut inputs = files_below("fuzz/corpus/loader");
    inputs.extend(files_below("tests/compose_files"));
    holds("loader", targets::loader, &inputs, 20_000);
}

#[test]
fn the_log_holds() {
    holds("log", targets::log, &files_below("fuzz/corpus/log"), 20_000);
}
