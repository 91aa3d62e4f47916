//! Who may log in: users with passwords (Argon2id) or tokens (256 random bits, kept as SHA-256), and the token for the first
//! login where no user is configured. Answers take equally long for names that are not known.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use basekeep_engine::EngineError;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

/// Begins the text of a token's hash in the configuration.
const TOKEN_HASH: &str = "sha256:";
/// Begins every token, so that scanners of secrets find it.
const TOKEN: &str = "bkt_";
/// Passwords that are hashed at once; each takes 19 MiB.
const HASHES_AT_ONCE: usize = 2;
/// The longest password that is hashed, in bytes.
const LONGEST_PASSWORD: usize = 1024;
/// The user that the one-time token logs in.
pub(crate) const FIRST_USER: &str = "operator";

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look at everything.
    Viewer,
    /// Start work and restore, too.
    Operator,
}

impl Role {
    /// `viewer` or `operator`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        }
    }
}

/// Somebody who may log in.
#[derive(Clone)]
pub struct User {
    /// The name.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Argon2id in the PHC form, `$argon2id$…`.
    pub password_hash: Option<String>,
    /// `sha256:` and 64 hexadecimal digits.
    pub token_hash: Option<String>,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "User({}, {})", self.name, self.role.word())
    }
}

/// Checks the form of a password's hash; the error says what is wrong with it.
pub fn check_password_hash(text: &str) -> Result<(), EngineError> {
    let wrong = |why: String| {
        EngineError::usage(format!("this is no hash of a password: {why}"))
            .hint("`basekeep dashboard password` makes one")
    };
    let hash = PasswordHash::new(text).map_err(|error| wrong(error.to_string()))?;
    match hash.algorithm.as_str() {
        "argon2id" => Ok(()),
        other => Err(wrong(format!("it was made with {other}, not with argon2id"))),
    }
}

/// Checks the form of a token's hash.
pub fn check_token_hash(text: &str) -> Result<(), EngineError> {
    let digits = text.strip_prefix(TOKEN_HASH).unwrap_or_default();
    match digits.len() == 64 && hex::decode(digits).is_ok() {
        true => Ok(()),
        false => Err(EngineError::usage("this is no hash of a token: sha256: and 64 digits are expected")
            .hint("`basekeep dashboard token` makes one")),
    }
}

/// Hashes a password for the configuration. Takes some tens of milliseconds.
///
/// # Errors
/// The password is empty or has more than 1,024 bytes.
pub fn hash_password(password: &str) -> Result<String, EngineError> {
    if password.is_empty() || password.len() > LONGEST_PASSWORD {
        return Err(EngineError::usage(format!("a password has 1 to {LONGEST_PASSWORD} bytes")));
    }
    let hash: PasswordHash = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(|error| EngineError::failed(format!("cannot hash the password: {error}")))?;
    Ok(hash.to_string())
}

/// A new token, and its hash for the configuration.
pub fn new_token() -> (String, String) {
    let token = format!("{TOKEN}{}", random_text());
    let hash = format!("{TOKEN_HASH}{}", hex::encode(sha256(token.as_bytes())));
    (token, hash)
}

/// 256 random bits as 43 letters.
pub(crate) fn random_text() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

pub(crate) fn sha256(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// Whether two texts are equal, without telling by the time how far they are.
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    let (a, b) = (sha256(a), sha256(b));
    a.iter().zip(b).fold(0, |differs, (x, y)| differs | (x ^ y)) == 0
}

/// What is told of a token that was made for the first login.
pub(crate) type Tell = Box<dyn Fn(&str) + Send + Sync>;

/// The users, and the proof of who somebody is.
pub(crate) struct Access {
    users: RwLock<Arc<Vec<User>>>,
    /// The hash of the token for one login; only where no user is configured.
    once: Mutex<Option<[u8; 32]>>,
    tell: Tell,
    /// What unknown names are checked against.
    nobody: String,
    hashing: Semaphore,
}

impl Access {
    /// Without users, a token for one login is made and told.
    pub(crate) fn new(users: Vec<User>, tell: Tell) -> Result<Self, EngineError> {
        let access = Self {
            users: RwLock::new(Arc::new(users)),
            once: Mutex::new(None),
            tell,
            nobody: hash_password(&random_text())?,
            hashing: Semaphore::new(HASHES_AT_ONCE),
        };
        access.renew();
        Ok(access)
    }

    /// Takes other users from now on; sessions of those who are gone end.
    pub(crate) fn replace(&self, users: Vec<User>) {
        *self.users.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(users);
        self.renew();
    }

    fn users(&self) -> Arc<Vec<User>> {
        self.users.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a token for one login where no user is configured.
    fn renew(&self) {
        let fresh = self.users().is_empty().then(new_token);
        let mut once = self.once.lock().unwrap_or_else(PoisonError::into_inner);
        *once = fresh.as_ref().map(|(token, _)| sha256(token.as_bytes()));
        drop(once);
        if let Some((token, _)) = fresh {
            (self.tell)(&token);
        }
    }

    /// The role of somebody who has logged in, unless the configuration does not know them any more.
    pub(crate) fn role(&self, name: &str) -> Option<Role> {
        let users = self.users();
        if users.is_empty() && name == FIRST_USER {
            return Some(Role::Operator);
        }
        users.iter().find(|user| user.name == name).map(|user| user.role)
    }

    /// Whose password it is.
    pub(crate) async fn by_password(&self, name: &str, password: &str) -> Option<String> {
        let users = self.users();
        let known = users.iter().find(|user| user.name == name).and_then(|user| user.password_hash.clone());
        let is_known = known.is_some();
        // Somebody unknown costs what somebody known does.
        let like = || users.iter().find_map(|user| user.password_hash.clone());
        let hash = known.or_else(like).unwrap_or_else(|| self.nobody.clone());
        // An empty one is never hashed, so it never fits.
        let password = if password.len() > LONGEST_PASSWORD { String::new() } else { password.to_owned() };
        let _permit = self.hashing.acquire().await.ok()?;
        let fits = tokio::task::spawn_blocking(move || {
            let Ok(hash) = PasswordHash::new(&hash) else { return false };
            Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
        });
        (fits.await.unwrap_or(false) && is_known).then(|| name.to_owned())
    }

    /// Whose token it is. The one-time token is used up when `once` allows it.
    pub(crate) fn by_token(&self, token: &str, once: bool) -> Option<String> {
        let hash = sha256(token.as_bytes());
        let text = format!("{TOKEN_HASH}{}", hex::encode(hash));
        let mut found = None;
        for user in self.users().iter() {
            let its = user.token_hash.as_deref().unwrap_or_default().to_ascii_lowercase();
            if equal(its.as_bytes(), text.as_bytes()) {
                found = Some(user.name.clone());
            }
        }
        if found.is_none() && once {
            let mut expected = self.once.lock().unwrap_or_else(PoisonError::into_inner);
            if expected.is_some_and(|expected| equal(&expected, &hash)) {
                *expected = None;
                drop(expected);
                self.renew();
                return Some(FIRST_USER.to_owned());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(users: Vec<User>) -> (Access, Arc<Mutex<Vec<String>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let to = told.clone();
        let access = Access::new(users, Box::new(move |token| to.lock().unwrap().push(token.to_owned())));
        (access.unwrap(), told)
    }

    fn user(name: &str, password: Option<&str>, token: Option<&str>) -> User {
        User {
            name: name.into(),
            role: Role::Viewer,
            password_hash: password.map(|password| hash_password(password).unwrap()),
            token_hash: token.map(str::to_owned),
        }
    }

    #[tokio::test]
    async fn only_the_right_password_of_the_right_user_logs_in() {
        let (access, told) = access(vec![user("ada", Some("hunter42"), None), user("bob", None, None)]);
        assert_eq!(access.by_password("ada", "hunter42").await.as_deref(), Some("ada"));
        for (name, password) in [("ada", "hunter43"), ("bob", "hunter42"), ("eve", "hunter42"), ("bob", "")] {
            assert_eq!(access.by_password(name, password).await, None, "{name}");
        }
        assert!(told.lock().unwrap().is_empty(), "no token where a user is configured");
        assert_eq!(access.role(FIRST_USER), None);
    }

    #[test]
    fn a_token_logs_its_user_in_and_its_hash_does_not() {
        let (token, hash) = new_token();
        check_token_hash(&hash).unwrap();
        let (access, _) = access(vec![user("ci", None, Some(&hash))]);
        assert_eq!(access.by_token(&token, false).as_deref(), Some("ci"));
        assert_eq!(access.by_token(&hash, true), None);
        assert_eq!(access.by_token("", true), None);
    }

    #[test]
    fn the_first_token_works_once_and_never_for_the_api() {
        let (access, told) = access(Vec::new());
        let token = told.lock().unwrap()[0].clone();
        assert_eq!(access.by_token(&token, false), None);
        assert_eq!(access.by_token(&token, true).as_deref(), Some(FIRST_USER));
        assert_eq!(access.by_token(&token, true), None);
        assert_eq!(told.lock().unwrap().len(), 2, "the next one is told");
        access.replace(vec![user("ada", None, None)]);
        let next = told.lock().unwrap()[1].clone();
        assert_eq!(access.by_token(&next, true), None, "users take its place");
    }

    #[test]
    fn hashes_of_another_form_are_refused() {
        check_password_hash(&hash_password("x").unwrap()).unwrap();
        for wrong in ["", "secret", "$2b$12$abcdefghijklmnopqrstuv", "$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ"]
        {
            assert!(check_password_hash(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "sha256:", "sha256:zz", &"0".repeat(64)] {
            assert!(check_token_hash(wrong).is_err(), "{wrong}");
        }
        assert!(hash_password("").is_err());
    }
}
