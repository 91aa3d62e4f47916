//! Files that hold a key or a password: readable for their owner alone, never overwritten.

use std::fmt::Write as _;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use basekeep_engine::EngineError;
use basekeep_engine::postgres::{Environment, Secret};
use rand::RngExt as _;

/// Where keys and passwords live: `$XDG_CONFIG_HOME/basekeep` or `~/.config/basekeep`; without a home, `beside`.
pub(super) fn folder(env: &Environment, beside: &Path) -> PathBuf {
    let given = env.var("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = given.or_else(|| env.home.as_ref().map(|home| home.join(".config")));
    base.map_or_else(|| beside.to_owned(), |base| base.join("basekeep"))
}

/// A new repository key, 256 random bits as text.
pub(in crate::commands) fn random_key() -> Secret {
    let bytes: [u8; 32] = rand::rng().random();
    Secret::new(bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// Writes the secret unless the file exists; tells whether it was written.
pub(in crate::commands) fn keep(file: &Path, secret: &Secret) -> Result<bool, EngineError> {
    write_new(file, secret).map_err(|error| {
        EngineError::failed(format!("cannot write {}", file.display())).caused_by(error).hint(
            "set BASEKEEP_PASSWORD_FILE to a place of your choice, with a password in it, and run it again",
        )
    })
}

fn write_new(file: &Path, secret: &Secret) -> io::Result<bool> {
    if let Some(folder) = file.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut opened = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error),
    };
    opened.write_all(secret.expose().as_bytes())?;
    opened.write_all(b"\n")?;
    // Losing the key loses every backup made with it.
    opened.sync_all()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_private_and_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/er/repository.key");
        let key = random_key();
        assert_eq!(key.expose().len(), 64);
        assert_ne!(key, random_key());
        assert!(keep(&file, &key).unwrap());
        assert!(!keep(&file, &random_key()).unwrap());
        assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), key.expose());
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn keys_live_in_the_configuration_folder() {
        let beside = Path::new("/project");
        let mut env = Environment { home: Some("/home/ada".into()), ..Environment::default() };
        assert_eq!(folder(&env, beside), Path::new("/home/ada/.config/basekeep"));
        env.vars.insert("XDG_CONFIG_HOME".into(), "/xdg".into());
        assert_eq!(folder(&env, beside), Path::new("/xdg/basekeep"));
        assert_eq!(folder(&Environment::default(), beside), beside);
    }
}
