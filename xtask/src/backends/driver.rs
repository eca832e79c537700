//! A Vulkan driver for machines without a graphics card: Mesa's lavapipe, installed where it is missing.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command::Call;

const FOLDERS: &[&str] =
    &["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];

/// The variables a program needs to find the software driver. A driver that the caller names is kept.
pub(super) fn environment(folder: &Path) -> Result<Vec<(String, String)>> {
    let mut variables = Vec::new();
    if std::env::var_os("VK_DRIVER_FILES").is_none()
        && std::env::var_os("VK_ICD_FILENAMES").is_none()
        && cfg!(target_os = "linux")
    {
        let driver = match lavapipe(FOLDERS) {
            Some(driver) => driver,
            None => install()?,
        };
        variables.push(("VK_DRIVER_FILES".to_owned(), driver.display().to_string()));
    }
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // Mesa refuses to start without one; a folder of ours will do.
        let runtime = folder.join("runtime");
        std::fs::create_dir_all(&runtime)
            .with_context(|| format!("cannot make {}", runtime.display()))?;
        variables.push(("XDG_RUNTIME_DIR".to_owned(), runtime.display().to_string()));
    }
    Ok(variables)
}

/// The manifest of lavapipe (`lvp_icd…json`) in the first folder that has one.
fn lavapipe<F: AsRef<Path>>(folders: &[F]) -> Option<PathBuf> {
    folders
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("lvp_icd") && name.ends_with(".json")
        })
}

fn install() -> Result<PathBuf> {
    if !Call::new("apt-get", ["--version"]).succeeds() {
        bail!(
            "no software Vulkan driver; install Mesa's lavapipe, or name a driver in VK_DRIVER_FILES"
        );
    }
    let root = Call::new("id", ["-u"]).output()?.trim() == "0";
    let command = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        if root { Call::new(words[0], &words[1..]) } else { Call::new("sudo", words) }
    };
    println!(
        "no software Vulkan driver here: installing Debian's mesa-vulkan-drivers with apt-get"
    );
    command("apt-get update").run()?;
    command("apt-get install --yes --no-install-recommends mesa-vulkan-drivers").run()?;
    lavapipe(FOLDERS).context(
        "mesa-vulkan-drivers is installed, yet no lvp_icd*.json; name one in VK_DRIVER_FILES",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lavapipe_is_told_from_other_drivers() {
        let folder = std::env::temp_dir().join(format!("kiln-xtask-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("radeon_icd.json"), "{}").unwrap();
        let before = lavapipe(&[&folder]);
        std::fs::write(folder.join("lvp_icd.x86_64.json"), "{}").unwrap();
        let after = lavapipe(&[&folder]);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(before, None);
        assert_eq!(after, Some(folder.join("lvp_icd.x86_64.json")));
    }

    #[test]
    fn a_missing_folder_holds_no_driver() {
        assert_eq!(lavapipe(&["no/such/folder"]), None);
    }
}
