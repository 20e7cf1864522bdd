//! `$VAR` and `${VAR…}` in values, and `.env` files: the first line is a template, the rest a file.

#![no_main]

use compose_scale::compose::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (template, file) = text.split_once('\n').unwrap_or((text, ""));
    // Variables that name each other must not grow beyond what is promised.
    if let Ok(made) = fuzzing::interpolate(template, file) {
        let bound = template.len().max(1 << 20);
        assert!(
            made.len() <= bound,
            "{} bytes of {}",
            made.len(),
            data.len()
        );
    }
});
