//! Whether edgehub would start with its configuration, and whether other machines can make use of it.

use std::path::Path;

use super::Check;
use crate::config::{RunConfig, is_open};
use crate::config_file;
use crate::identity::Identity;
use crate::serving;

const NAME: &str = "configuration";

pub(super) fn judge(data: &Path, error: Option<&str>, config: &RunConfig, identity: Option<&Identity>) -> Check {
    if let Some(error) = error {
        return Check::failed(
            NAME,
            error,
            format!(
                "correct that line; edgehub does not start with it, and the other checks used the defaults instead (the data folder's own file is {})",
                config_file::path(data).display()
            ),
        );
    }
    if let Some(Err(error)) = config.api.files.as_deref().map(|folder| serving::files(folder, data)) {
        return Check::failed(NAME, format!("{error:#}"), "make the folder, or name another one; edgehub does not start without it");
    }
    let open = config.listen.iter().find(|address| is_open(address));
    if let (Some(open), Some(identity)) = (open, identity)
        && !identity.can_serve()
    {
        return Check::warning(
            NAME,
            format!("other machines may connect to {open}, and this node's certificate does not name it: they cannot trust it"),
            "update cloudhub, and let edgehub run with the link up: it asks for a certificate that does",
        );
    }
    Check::ok(NAME, format!("it can be read; data folder {}", data.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_is_found() {
        let scratch = tempfile::tempdir().unwrap();
        let (data, pages) = (scratch.path().join("data"), scratch.path().join("pages"));
        std::fs::create_dir(&data).unwrap();
        let mut config = RunConfig::default();
        config.api.files = Some(pages.clone());
        let found = judge(&data, None, &config, None);
        assert_eq!(found.verdict, Verdict::Failed);
        std::fs::create_dir(&pages).unwrap();
        assert_eq!(judge(&data, None, &config, None).verdict, Verdict::Ok);
        assert_eq!(judge(&data, Some("wrong"), &config, None).verdict, Verdict::Failed);
    }
}
