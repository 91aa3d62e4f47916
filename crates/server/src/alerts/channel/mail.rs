//! Mail by SMTP, with TLS.

use basekeep_engine::EngineError;
use basekeep_engine::config::{Dotenv, SmtpEntry, SmtpSecurity};
use basekeep_engine::postgres::Environment;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use super::SendError;
use crate::alerts::message::Message;
use crate::alerts::redact::Redactor;

#[derive(Debug)]
pub(super) struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Mail {
    pub(super) fn new(
        smtp: &SmtpEntry,
        to: &[String],
        env: &Environment,
        dotenv: &Dotenv,
        redactor: &mut Redactor,
    ) -> Result<Self, EngineError> {
        let mailbox = |text: &String| {
            text.parse::<Mailbox>()
                .map_err(|_| EngineError::usage(format!("'{}' is no mail address", text.escape_debug())))
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(smtp.host.as_str())
            .port(smtp.port)
            .timeout(Some(std::time::Duration::from_secs(10)))
            .tls(tls(smtp)?);
        let password = smtp.password.as_ref().map(|from| from.read(env, dotenv)).transpose()?;
        if let Some(password) = password {
            redactor.hide(&password);
            let here = matches!(smtp.host.as_str(), "localhost" | "127.0.0.1" | "::1");
            if smtp.security == SmtpSecurity::None && !here {
                return Err(EngineError::usage("the mail server's password would be sent in the clear")
                    .hint("set security = \"starttls\" or \"tls\" in [alerts.smtp]"));
            }
            let user = smtp.username.clone().unwrap_or_else(|| smtp.from.clone());
            builder = builder.credentials(Credentials::new(user, password.expose().to_owned()));
        }
        Ok(Self {
            transport: builder.build(),
            from: mailbox(&smtp.from)?,
            to: to.iter().map(mailbox).collect::<Result<_, _>>()?,
        })
    }

    pub(super) async fn send(&self, message: &Message, delivery: &str) -> Result<(), SendError> {
        let mut mail = lettre::Message::builder()
            .from(self.from.clone())
            .subject(message.title.replace(char::is_control, " "))
            .message_id(Some(format!("<{delivery}@basekeep>")))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            mail = mail.to(to.clone());
        }
        let mail = mail
            .body(format!("{}\n\n{}", message.title, message.text))
            .map_err(|error| SendError::for_good(format!("the mail cannot be written: {error}")))?;
        match self.transport.send(mail).await {
            Ok(_) => Ok(()),
            Err(error) => Err(SendError {
                again: !error.is_permanent() && !error.is_client(),
                text: describe(&error),
                after: None,
            }),
        }
    }
}

fn tls(smtp: &SmtpEntry) -> Result<Tls, EngineError> {
    if smtp.security == SmtpSecurity::None {
        return Ok(Tls::None);
    }
    let mut parameters = TlsParameters::builder(smtp.host.clone());
    if let Some(file) = &smtp.ca_file {
        let wrong = |why: String| EngineError::usage(format!("certificate in {}: {why}", file.display()));
        let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
        let certificate = Certificate::from_pem(&pem).map_err(|error| wrong(error.to_string()))?;
        parameters = parameters.add_root_certificate(certificate);
    }
    let parameters = parameters
        .build_rustls()
        .map_err(|error| EngineError::failed("cannot set up TLS for mail").caused_by(error))?;
    Ok(match smtp.security {
        SmtpSecurity::Tls => Tls::Wrapper(parameters),
        _ => Tls::Required(parameters),
    })
}

/// The error and its causes, each said once.
fn describe(error: &lettre::transport::smtp::Error) -> String {
    let mut text = "mail".to_owned();
    for error in std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source()) {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
    }
    text
}
