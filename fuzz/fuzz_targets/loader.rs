//! A compose file from standard input: it ends with a project, which can be printed, or with
//! mistakes, which can be told.

#![no_main]

use compose_scale::compose::{LoadRequest, load, render};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let request = LoadRequest {
        files: vec!["-".into()],
        // Nothing is there that `include`, `extends` or `env_file` could read.
        cwd: "/nowhere".into(),
        project_name: Some("p".into()),
        stdin: Some(text.to_owned()),
        ..LoadRequest::default()
    };
    match load(&request) {
        Ok(loaded) => assert!(!render::to_yaml(&loaded).is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
