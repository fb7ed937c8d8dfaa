//! Runs commands as a user would and shows them.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

/// A shell's environment: which cluster, and where our tools are.
#[derive(Clone, Debug)]
pub struct Shell {
    pub kubeconfig: PathBuf,
    /// Folders put in front of PATH.
    pub path: Vec<PathBuf>,
    /// Print each command and its output.
    pub show: bool,
}

impl Shell {
    /// Runs one command line; its output.
    ///
    /// # Errors
    /// When it cannot start or fails; the error holds the command and what it printed.
    pub fn run(&self, line: &str) -> Result<String> {
        self.run_with_input(line, "")
    }

    /// Like [`Shell::run`], with text on standard input.
    ///
    /// # Errors
    /// As [`Shell::run`].
    pub fn run_with_input(&self, line: &str, input: &str) -> Result<String> {
        if self.show {
            println!("  $ {line}");
        }
        let output = self.output(line, input)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`{line}` failed: {errors}{text}");
        if self.show {
            text.lines().for_each(|line| println!("    {line}"));
        }
        Ok(text)
    }

    /// Like [`Shell::run`], and shows the output as it arrives.
    ///
    /// # Errors
    /// As [`Shell::run`].
    pub fn follow(&self, line: &str) -> Result<String> {
        println!("  $ {line}");
        let mut child = self
            .command(line)?
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start `{line}`"))?;
        let mut pipe = child
            .stdout
            .take()
            .context("a piped standard output is there")?;
        let (mut all, mut part) = (Vec::new(), [0; 256]);
        print!("    ");
        while let count @ 1.. = pipe.read(&mut part)? {
            print!(
                "{}",
                String::from_utf8_lossy(&part[..count]).replace('\n', "\n    ")
            );
            std::io::stdout().flush()?;
            all.extend_from_slice(&part[..count]);
        }
        println!();
        ensure!(child.wait()?.success(), "`{line}` failed");
        Ok(String::from_utf8_lossy(&all).into_owned())
    }

    /// Runs a command line that is expected to fail; its error text.
    ///
    /// # Errors
    /// When it cannot start, or succeeds.
    pub fn refused(&self, line: &str, input: &str) -> Result<String> {
        let output = self.output(line, input)?;
        ensure!(
            !output.status.success(),
            "`{line}` was expected to be refused"
        );
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn output(&self, line: &str, input: &str) -> Result<Output> {
        let mut child = self
            .command(line)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start `{line}`"))?;
        let mut stdin = child
            .stdin
            .take()
            .context("a piped standard input is there")?;
        // A command that does not read its input closes the pipe: no error of ours.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child
            .wait_with_output()
            .with_context(|| format!("wait for `{line}`"))
    }

    fn command(&self, line: &str) -> Result<Command> {
        let mut command = Command::new("bash");
        command
            .args(["-c", line])
            .env("KUBECONFIG", &self.kubeconfig)
            .env("PATH", self.search_path()?);
        Ok(command)
    }

    fn search_path(&self) -> Result<std::ffi::OsString> {
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let all = self
            .path
            .iter()
            .cloned()
            .chain(std::env::split_paths(&inherited));
        std::env::join_paths(all).context("a folder's name does not fit into PATH")
    }
}
