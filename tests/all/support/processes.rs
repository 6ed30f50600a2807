//! The processes of the deployed functions, to be killed.

use std::{fs, path::Path, process::Command};

use super::{stack::stack, tree};

/// Whether it is a function's that was deployed. Other tests start what was built by themselves.
fn is_deployed(exe: &Path) -> bool {
    exe.ends_with("bootstrap") && !exe.starts_with(tree::root().join("target"))
}

/// The service that a process of this stack's deployed functions is.
fn service(process: &Path) -> Option<String> {
    let here = format!("AWS_ENDPOINT_URL={}", stack().endpoint);
    let environment = fs::read(process.join("environ")).ok()?;
    let mut variables = environment.split(|byte| *byte == 0);
    if !variables
        .clone()
        .any(|variable| variable == here.as_bytes())
    {
        return None;
    }
    let named = variables.find_map(|variable| variable.strip_prefix(b"POWERTOOLS_SERVICE_NAME="));
    let name = String::from_utf8(named?.to_vec()).ok()?;
    let exe = fs::read_link(process.join("exe")).ok()?;
    is_deployed(&exe).then_some(name)
}

/// The processes of this stack's deployed functions: the function's name, and the process's number.
pub(crate) fn running() -> Vec<(String, String)> {
    let entries = fs::read_dir("/proc").expect("the system tells of its processes");
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|number| Some((service(&Path::new("/proc").join(&number))?, number)))
        .collect()
}

/// The processes of this stack's deployed function of a name.
pub(crate) fn processes(name: &str) -> Vec<String> {
    let found = running().into_iter();
    let named = found.filter(|(known, _)| known == name);
    named.map(|(_, number)| number).collect()
}

/// Kills a process; whether it was there to be killed.
pub(crate) fn kill(process: &str) -> bool {
    let kill = Command::new("kill").args(["-KILL", process]).status();
    kill.is_ok_and(|status| status.success())
}
