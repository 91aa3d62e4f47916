//! The few fields of an X.509 certificate (RFC 5280, section 4.1) that channel binding and names need. The bytes come from
//! the wire: whatever they are, the answer is `None`, never a panic.

/// A hash function of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// Fields of a certificate, as slices of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Certificate<'a> {
    validity: &'a [u8],
    subject: &'a [u8],
    /// SubjectPublicKeyInfo, with its header.
    pub(super) public_key: &'a [u8],
    extensions: Option<&'a [u8]>,
    signature_algorithm: &'a [u8],
}

const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const CONTEXT_0: u8 = 0xa0;
const CONTEXT_3: u8 = 0xa3;

/// Elements of DER, one after the other.
#[derive(Clone, Copy)]
struct Elements<'a>(&'a [u8]);

struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    /// With the header.
    whole: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let [tag, first, ..] = *self.0 else { return None };
        let (header, length) = match first {
            0..=0x7f => (2, usize::from(first)),
            0x81..=0x83 => {
                let count = usize::from(first & 0x7f);
                let bytes = self.0.get(2..2 + count)?;
                (2 + count, bytes.iter().fold(0, |length, b| (length << 8) | usize::from(*b)))
            }
            _ => return None,
        };
        let whole = self.0.get(..header + length)?;
        self.0 = &self.0[whole.len()..];
        Some(Element { tag, content: &whole[header..], whole })
    }
}

impl<'a> Elements<'a> {
    /// The next element, which must be of this kind.
    fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        self.next().filter(|e| e.tag == tag)
    }

    /// The next element, if it is of this kind.
    fn optional(&mut self, tag: u8) -> Option<Element<'a>> {
        let mut ahead = *self;
        let element = ahead.expect(tag)?;
        *self = ahead;
        Some(element)
    }
}

impl<'a> Certificate<'a> {
    pub(super) fn parse(der: &'a [u8]) -> Option<Self> {
        let mut certificate = Elements(Elements(der).expect(SEQUENCE)?.content);
        let mut signed = Elements(certificate.expect(SEQUENCE)?.content);
        let signature_algorithm = certificate.expect(SEQUENCE)?.content;
        signed.optional(CONTEXT_0);
        signed.expect(INTEGER)?;
        signed.expect(SEQUENCE)?;
        signed.expect(SEQUENCE)?;
        let validity = signed.expect(SEQUENCE)?.content;
        let subject = signed.expect(SEQUENCE)?.content;
        let public_key = signed.expect(SEQUENCE)?.whole;
        let extensions = signed.find(|e| e.tag == CONTEXT_3);
        let extensions = extensions.and_then(|e| Elements(e.content).expect(SEQUENCE)).map(|e| e.content);
        Some(Self { validity, subject, public_key, extensions, signature_algorithm })
    }

    /// The hash function of the signature, with MD5 and SHA-1 raised to SHA-256 (RFC 5929).
    pub(super) fn signature_hash(&self) -> Option<Hash> {
        const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
        const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
        let mut algorithm = Elements(self.signature_algorithm);
        let name = algorithm.expect(OBJECT_IDENTIFIER)?.content;
        if let Some(kind) = name.strip_prefix(RSA) {
            return match kind {
                [4 | 5 | 11] => Some(Hash::Sha256),
                [12] => Some(Hash::Sha384),
                [13] => Some(Hash::Sha512),
                [14] => Some(Hash::Sha224),
                [10] => pss_hash(algorithm.expect(SEQUENCE)?.content),
                _ => None,
            };
        }
        match name.strip_prefix(ECDSA)? {
            [1] | [3, 2] => Some(Hash::Sha256),
            [3, 1] => Some(Hash::Sha224),
            [3, 3] => Some(Hash::Sha384),
            [3, 4] => Some(Hash::Sha512),
            _ => None,
        }
    }

    /// First and last second of validity, since 1970.
    pub(super) fn validity(&self) -> Option<(i64, i64)> {
        let mut times = Elements(self.validity).map(|e| seconds(&e));
        Some((times.next()??, times.next()??))
    }

    pub(super) fn has_alternative_names(&self) -> bool {
        const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
        Elements(self.extensions.unwrap_or_default()).any(|e| {
            Elements(e.content)
                .expect(OBJECT_IDENTIFIER)
                .is_some_and(|id| id.content == SUBJECT_ALTERNATIVE_NAME)
        })
    }

    /// The last common name of the subject.
    pub(super) fn common_name(&self) -> Option<String> {
        const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
        let mut found = None;
        for set in Elements(self.subject).filter(|e| e.tag == SET) {
            for pair in Elements(set.content).filter(|e| e.tag == SEQUENCE) {
                let mut pair = Elements(pair.content);
                if pair.expect(OBJECT_IDENTIFIER)?.content == COMMON_NAME {
                    found = pair.next().map(|value| value.content);
                }
            }
        }
        // A zero byte inside would end the name for other programs: such a name is nobody's.
        found.and_then(|name| String::from_utf8(name.to_vec()).ok()).filter(|name| !name.contains('\0'))
    }
}

/// RSASSA-PSS-params: the hash function is SHA-1 when it is not named.
fn pss_hash(parameters: &[u8]) -> Option<Hash> {
    const SHA2: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];
    let Some(named) = Elements(parameters).optional(CONTEXT_0) else { return Some(Hash::Sha256) };
    let mut algorithm = Elements(Elements(named.content).expect(SEQUENCE)?.content);
    match algorithm.expect(OBJECT_IDENTIFIER)?.content.strip_prefix(SHA2) {
        Some([1]) => Some(Hash::Sha256),
        Some([2]) => Some(Hash::Sha384),
        Some([3]) => Some(Hash::Sha512),
        Some([4]) => Some(Hash::Sha224),
        Some(_) => None,
        None => Some(Hash::Sha256),
    }
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn seconds(time: &Element<'_>) -> Option<i64> {
    let text = std::str::from_utf8(time.content).ok()?.strip_suffix('Z')?;
    let (year, rest) = match time.tag {
        UTC_TIME => text.split_at_checked(2)?,
        GENERALIZED_TIME => text.split_at_checked(4)?,
        _ => return None,
    };
    let mut year: i16 = year.parse().ok()?;
    if time.tag == UTC_TIME {
        year += if year < 50 { 2000 } else { 1900 };
    }
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i8>().ok();
    let date = jiff::civil::DateTime::new(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, 0).ok()?;
    Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn self_signed(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "db.example");
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 2);
        parameters.not_after = rcgen::date_time_ymd(2051, 3, 4);
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn fields_are_found() {
        let der = self_signed(&rcgen::PKCS_ECDSA_P256_SHA256);
        let certificate = Certificate::parse(&der).unwrap();
        assert_eq!(certificate.signature_hash(), Some(Hash::Sha256));
        assert_eq!(certificate.common_name().as_deref(), Some("db.example"));
        assert!(!certificate.has_alternative_names());
        assert_eq!(certificate.validity(), Some((1_577_923_200, 2_561_500_800)));
        let der = self_signed(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(Certificate::parse(&der).unwrap().signature_hash(), Some(Hash::Sha384));
        let der = self_signed(&rcgen::PKCS_ED25519);
        assert_eq!(Certificate::parse(&der).unwrap().signature_hash(), None);
        assert_eq!(crate::tls::server_end_point(&der), None);
    }

    fn read_everything(der: &[u8]) {
        if let Some(certificate) = Certificate::parse(der) {
            let _ = (certificate.signature_hash(), certificate.validity(), certificate.common_name());
            certificate.has_alternative_names();
        }
    }

    proptest! {
        #[test]
        fn changed_certificates_never_panic(at in any::<proptest::sample::Index>(), to in any::<u8>(), cut in any::<proptest::sample::Index>()) {
            let mut der = self_signed(&rcgen::PKCS_ECDSA_P256_SHA256);
            let at = at.index(der.len());
            der[at] = to;
            read_everything(&der);
            der.truncate(cut.index(der.len()));
            read_everything(&der);
        }
    }
}
