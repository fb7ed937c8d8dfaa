//! Writing to standard output. A reader that went away (`| head`) is no error of ours.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::error::CliError;

/// Clears a terminal and begins at its top.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Writes text as it is.
pub fn text(text: &str) -> Result<(), CliError> {
    write(text).map_err(CliError::Output)
}

/// Writes a value as indented JSON.
pub fn json<T: Serialize>(value: &T) -> Result<(), CliError> {
    let json = serde_json::to_string_pretty(value).expect("what we print is plain JSON");
    text(&format!("{json}\n"))
}

/// Replaces what a terminal shows; elsewhere appends, with an empty line between.
pub fn replace(shown: &str, first: bool) -> Result<(), CliError> {
    match (io::stdout().is_terminal(), first) {
        (true, _) => text(&format!("{CLEAR}{shown}")),
        (false, true) => text(shown),
        (false, false) => text(&format!("\n{shown}")),
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}
