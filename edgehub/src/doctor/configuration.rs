//! Whether edgehub would start with its configuration.

use std::path::Path;

use super::Check;
use crate::config_file;

const NAME: &str = "configuration";

pub(super) fn judge(data: &Path, error: Option<&str>) -> Check {
    match error {
        None => Check::ok(NAME, format!("it can be read; data folder {}", data.display())),
        Some(error) => Check::failed(
            NAME,
            error,
            format!(
                "correct that line; edgehub does not start with it, and the other checks used the defaults instead (the data folder's own file is {})",
                config_file::path(data).display()
            ),
        ),
    }
}
