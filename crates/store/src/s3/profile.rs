//! The shared files of AWS tools, `~/.aws/credentials` and `~/.aws/config`: one profile of both.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use super::failure::Failure;
use crate::ErrorKind;
use crate::options::Surroundings;

/// The settings of one profile; those of the credentials file win.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    pub(crate) name: String,
    settings: HashMap<String, String>,
    /// The files that were looked at, for messages.
    pub(crate) files: Vec<PathBuf>,
}

impl Profile {
    /// Reads `name`. A profile that is not there is an error only if somebody `asked` for it.
    pub(crate) fn read(name: &str, asked: bool, surroundings: &Surroundings) -> Result<Self, Failure> {
        let file = |variable: &str, default: &str| {
            let named = surroundings.var(variable).map(PathBuf::from);
            named.or_else(|| surroundings.home.as_ref().map(|home| home.join(".aws").join(default)))
        };
        let config = file("AWS_CONFIG_FILE", "config");
        let credentials = file("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        let mut profile = Self { name: name.to_owned(), ..Self::default() };
        let mut found = false;
        for (file, sections) in [
            (config, if name == "default" { vec![name.to_owned()] } else { vec![format!("profile {name}")] }),
            (credentials, vec![name.to_owned()]),
        ] {
            let Some(file) = file else { continue };
            match fs::read(&file) {
                Ok(text) => {
                    for (section, key, value) in settings(&String::from_utf8_lossy(&text)) {
                        if sections.contains(&section) {
                            found = true;
                            profile.settings.insert(key, value);
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let text = format!("read {}: {error}", file.display());
                    return Err(Failure::new(ErrorKind::Denied, text));
                }
            }
            profile.files.push(file);
        }
        if asked && !found {
            let files: Vec<_> = profile.files.iter().map(|file| file.display().to_string()).collect();
            let text = format!("there is no profile {name} in {}", files.join(" or "));
            return Err(Failure::new(ErrorKind::Permanent, text)
                .hint("`aws configure list-profiles` names those that are there"));
        }
        Ok(profile)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// Section, key and value of each line. Indented lines belong to a nested group and are passed over.
fn settings(text: &str) -> Vec<(String, String, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) || line.starts_with([' ', '\t']) {
            continue;
        }
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            section = name.split_whitespace().collect::<Vec<_>>().join(" ").replace('"', "");
        } else if let Some((key, value)) = trimmed.split_once('=') {
            let value = value.split(" #").next().unwrap_or_default().split(" ;").next().unwrap_or_default();
            found.push((section.clone(), key.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(config: &str, credentials: &str) -> (tempfile::TempDir, Surroundings) {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".aws")).unwrap();
        fs::write(home.path().join(".aws/config"), config).unwrap();
        fs::write(home.path().join(".aws/credentials"), credentials).unwrap();
        let surroundings = Surroundings { home: Some(home.path().to_owned()), ..Surroundings::default() };
        (home, surroundings)
    }

    #[test]
    fn a_profile_is_read_from_both_files() {
        let (_home, surroundings) = surroundings(
            "[default]\nregion = eu-west-1\n\n[profile ops]\n# a comment\nregion=eu-north-1 # here\ns3 =\n  \
             endpoint_url = http://nested\nendpoint_url = https://h:9000\naws_secret_access_key = config\n",
            "[default]\naws_access_key_id = D\n[ops]\naws_access_key_id = A\naws_secret_access_key = a/b+c==\n",
        );
        let ops = Profile::read("ops", true, &surroundings).unwrap();
        assert_eq!(ops.get("region"), Some("eu-north-1"));
        assert_eq!(ops.get("endpoint_url"), Some("https://h:9000"));
        assert_eq!(ops.get("aws_access_key_id"), Some("A"));
        assert_eq!(ops.get("aws_secret_access_key"), Some("a/b+c=="));
        let default = Profile::read("default", false, &surroundings).unwrap();
        assert_eq!(default.get("region"), Some("eu-west-1"));
        assert_eq!(default.get("aws_access_key_id"), Some("D"));
        assert_eq!(default.get("aws_session_token"), None);
    }

    #[test]
    fn a_profile_that_is_asked_for_must_exist() {
        let (_home, surroundings) = surroundings("", "");
        let failure = Profile::read("ops", true, &surroundings).unwrap_err();
        assert!(failure.to_string().starts_with("there is no profile ops in "), "{failure}");
        assert!(failure.to_string().contains(".aws/credentials"), "{failure}");
        assert!(Profile::read("ops", false, &surroundings).unwrap().get("region").is_none());
    }

    #[test]
    fn files_can_be_elsewhere_or_missing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        fs::write(&file, "[default]\naws_access_key_id = X\n").unwrap();
        let variables =
            [("AWS_SHARED_CREDENTIALS_FILE".to_owned(), file.display().to_string())].into_iter().collect();
        let surroundings = Surroundings { variables, home: None };
        let profile = Profile::read("default", false, &surroundings).unwrap();
        assert_eq!(profile.get("aws_access_key_id"), Some("X"));
        let nothing = Profile::read("default", false, &Surroundings::default()).unwrap();
        assert_eq!(nothing.get("aws_access_key_id"), None);
    }
}
