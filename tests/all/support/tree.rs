//! The project's own files.

use std::path::{Path, PathBuf};

/// Directories that hold nothing of the project's own.
const FOREIGN: [&str; 6] = [
    "target",
    ".git",
    ".venv",
    ".local",
    ".aws-sam",
    "__pycache__",
];

/// Where the project begins.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package lies in the workspace")
}

/// Every file below `folder`, by its path from the root, with `/` between names, in order.
pub(crate) fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    collect(&root().join(folder), &mut found);
    let mut names: Vec<String> = found.iter().map(|path| name(path)).collect();
    names.sort();
    names
}

/// Those of [`files`] whose name ends in `.{extension}`.
pub(crate) fn files_of(folder: &str, extension: &str) -> Vec<String> {
    let mut names = files(folder);
    names.retain(|name| {
        Path::new(name)
            .extension()
            .is_some_and(|found| found == extension)
    });
    names
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries =
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("the folder is readable").path();
        let is_foreign = path
            .file_name()
            .is_some_and(|name| FOREIGN.iter().any(|foreign| name == *foreign));
        match path.is_dir() {
            _ if is_foreign => {}
            true => collect(&path, found),
            false => found.push(path),
        }
    }
}

fn name(path: &Path) -> String {
    let path = path
        .strip_prefix(root())
        .expect("the walk begins at the root");
    path.components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}

/// The text of a file; `None` where it is not text.
pub(crate) fn text(name: &str) -> Option<String> {
    let bytes = std::fs::read(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    String::from_utf8(bytes).ok()
}

/// The text of a file that has to be one.
pub(crate) fn source(name: &str) -> String {
    text(name).unwrap_or_else(|| panic!("{name} is not text"))
}
