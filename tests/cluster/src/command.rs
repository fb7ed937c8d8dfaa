//! Running a program to its end, and waiting for something to become true.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How often a condition is looked at: processes start in tenths of seconds.
const POLL: Duration = Duration::from_millis(50);

/// Runs to the end and returns standard output; failure carries what was said on standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    finish(command, None)
}

/// Like [`output`], with `input` on standard input.
pub(crate) fn output_with_input(command: &mut Command, input: &str) -> Result<String> {
    finish(command, Some(input))
}

fn finish(command: &mut Command, input: Option<&str>) -> Result<String> {
    let shown = show(command);
    let stdin = if input.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    };
    let not_started = |source| Error::NotStarted {
        command: shown.clone(),
        source,
    };
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(not_started)?;
    if let (Some(text), Some(mut pipe)) = (input, child.stdin.take()) {
        // A program that ends without reading all of its input says why on standard error.
        let _ = pipe.write_all(text.as_bytes());
    }
    let done = child.wait_with_output().map_err(not_started)?;
    let stdout = String::from_utf8_lossy(&done.stdout).into_owned();
    if done.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&done.stderr);
    Err(Error::CommandFailed {
        command: shown,
        status: done.status,
        output: format!("{stdout}{stderr}").trim().to_owned(),
    })
}

/// The command line as a person would type it, cut where it gets long.
fn show(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    let mut line = words.join(" ");
    if let Some((end, _)) = line.char_indices().nth(200) {
        line.truncate(end);
        line.push_str(" ...");
    }
    line
}

/// Whether a program of this name is on the PATH.
pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Waits until `ready` says true. `ready` may fail for good (a process died); `what` names the wait.
pub(crate) fn wait_until(
    what: &str,
    limit: Duration,
    mut ready: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        if ready()? {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::TimedOut {
                what: what.to_owned(),
                limit,
                detail: String::new(),
            });
        }
        std::thread::sleep(POLL);
    }
}

/// Whether a plain HTTP GET is answered with 200: the readiness of etcd, the registry and CoreDNS.
pub(crate) fn answers_http(address: &str, path: &str) -> bool {
    let Ok(socket) = address.parse() else {
        return false;
    };
    let limit = Duration::from_secs(1);
    let get = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&socket, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
        let mut status = [0u8; 12];
        stream.read_exact(&mut status)?;
        Ok(status.ends_with(b" 200"))
    };
    get().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_says_what_it_said() {
        let error = output(Command::new("sh").args(["-c", "echo broken >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("sh -c") && text.contains("broken") && text.contains('3'),
            "{text}"
        );
    }

    #[test]
    fn input_reaches_the_command() {
        assert_eq!(
            output_with_input(&mut Command::new("cat"), "abc").unwrap(),
            "abc"
        );
    }

    #[test]
    fn a_wait_ends_at_its_limit_and_names_what_was_waited_for() {
        let error = wait_until("the moon", Duration::ZERO, || Ok(false)).unwrap_err();
        assert!(error.to_string().starts_with("the moon did not happen"));
    }
}
