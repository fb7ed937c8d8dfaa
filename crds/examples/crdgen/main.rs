//! Writes the CRD and the API reference from the API types: `make crds`.
//!
//! All files are committed; a test compares them with the types.

mod render;

use std::fs;
use std::io;

fn main() -> io::Result<()> {
    for file in render::files() {
        let path = render::repository().join(file.path);
        fs::write(&path, &file.text)?;
        println!("{}", path.display());
    }
    Ok(())
}
