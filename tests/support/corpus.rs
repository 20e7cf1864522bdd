//! The compose files of `tests/compose_files`, each a case with its flags and its environment.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use compose_scale::compose::LoadRequest;

/// How a case is loaded, beyond the defaults: lines of a comment at the top of its (first) file,
/// like `# args: --profile debug` or `# env: TAG=1`.
#[derive(Debug, Default)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) refused: bool,
    /// With keys that a newer compose may know: this one refuses them, and they are left to it.
    pub(crate) newer: bool,
}

/// Those of the project.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compose_files")
}

/// All cases below a directory.
pub(crate) fn cases(root: &Path) -> Vec<Case> {
    let mut paths: Vec<_> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| case(path)).collect()
}

fn case(path: &Path) -> Case {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let mut case = Case {
        name,
        ..Case::default()
    };
    let first = if path.is_dir() {
        path.clone_into(&mut case.directory);
        path.join("case")
    } else {
        path.parent().unwrap().clone_into(&mut case.directory);
        case.args = vec![
            "-f".into(),
            path.file_name().unwrap().to_string_lossy().into(),
        ];
        path.to_owned()
    };
    for line in fs::read_to_string(first).unwrap_or_default().lines() {
        if let Some(args) = line.strip_prefix("# args: ") {
            case.args.extend(args.split(' ').map(ToOwned::to_owned));
        } else if let Some((key, value)) =
            line.strip_prefix("# env: ").and_then(|l| l.split_once('='))
        {
            case.env.insert(key.to_owned(), value.to_owned());
        } else if line == "# refused" {
            case.refused = true;
        } else if line == "# newer" {
            case.newer = true;
        }
    }
    case.env.insert("HOME".into(), "/home/me".into());
    case
}

/// What the loader is asked for.
pub(crate) fn request(case: &Case) -> LoadRequest {
    let mut request = LoadRequest {
        cwd: case.directory.clone(),
        env: case.env.clone(),
        ..LoadRequest::default()
    };
    let mut args = case.args.iter();
    while let Some(flag) = args.next() {
        let value = args.next().unwrap().clone();
        match flag.as_str() {
            "-f" => request.files.push(value.into()),
            "-p" => request.project_name = Some(value),
            "--profile" => request.profiles.push(value),
            "--env-file" => request.env_files.push(value.into()),
            "--project-directory" => request.project_directory = Some(value.into()),
            other => panic!("{other} is no flag of this test"),
        }
    }
    request
}
