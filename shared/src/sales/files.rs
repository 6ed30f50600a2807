//! The one file that knows the import bucket's keys.
//!
//! | object | key |
//! |---|---|
//! | a file to import | `imports/{anything}`; `imports/{id}/{name}` for an announced one |
//! | a file imported through the API | `direct/{id}.csv` |
//! | rejected rows | `errors/{id}/errors.csv` |
//! | an import's plan | `work/{id}/plan.json` |

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use aws_sdk_s3::{
    Client,
    config::timeout::TimeoutConfig,
    error::{ProvideErrorMetadata, SdkError},
    operation::get_object::builders::GetObjectFluentBuilder,
    presigning::PresigningConfig,
    primitives::ByteStream,
    types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart},
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{
    file::Dialect,
    import::{ImportId, ObjectVersion},
    rules::Extent,
};

/// The prefix under which an object put starts an import.
pub const IMPORTS: &str = "imports/";

/// Largest file: 5 GiB, what one S3 put or form upload can hold.
pub const MOST_BYTES: u64 = 5 * 1024 * 1024 * 1024;

/// Times that a slice is asked for when its body breaks off.
const READ_TRIES: u32 = 3;

/// How long S3 may take to put a multipart upload together: minutes, says its documentation.
const COMPLETE_TIMEOUT: Duration = Duration::from_mins(2);

/// Size of a part of a multipart upload; S3 asks for 5 MiB at least.
const PART: usize = 5 * 1024 * 1024;

/// A failed call on the import bucket.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The bucket did not answer, or refused for now.
    #[error("{operation} on the import bucket failed ({code})")]
    Unavailable {
        /// The operation's name.
        operation: &'static str,
        /// The service's word for it.
        code: String,
        /// The whole story.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The object is gone.
    #[error("the file is no longer there")]
    Missing,
    /// Another object has taken the key since.
    #[error("the file was replaced by another one under the same key")]
    Replaced,
    /// A plan that is none.
    #[error("the import's plan cannot be read")]
    Plan(#[from] serde_json::Error),
}

impl FilesError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

fn failed<E>(operation: &'static str) -> impl FnOnce(SdkError<E, HttpResponse>) -> FilesError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    move |error| FilesError::Unavailable {
        operation,
        code: error.code().unwrap_or("no answer").to_owned(),
        source: Box::new(error),
    }
}

/// As [`failed`], for calls that read an object: it may be gone, or another one by now.
fn unread<E>(operation: &'static str) -> impl FnOnce(SdkError<E, HttpResponse>) -> FilesError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    move |error| match status(&error) {
        Some(404) => FilesError::Missing,
        Some(412) => FilesError::Replaced,
        _ => failed(operation)(error),
    }
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error
        .raw_response()
        .map(|response| response.status().as_u16())
}

/// What the first pass over a file found, kept so that a later run need not read it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// How the file is to be read.
    pub dialect: Dialect,
    /// Where the rows of each day stand.
    pub days: BTreeMap<Date, Extent>,
}

/// The import bucket.
#[derive(Debug, Clone)]
pub struct ImportFiles {
    client: Client,
    bucket: String,
}

impl ImportFiles {
    /// The files in `bucket`.
    #[must_use]
    pub const fn new(client: Client, bucket: String) -> Self {
        Self { client, bucket }
    }

    /// The bucket's name.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The key under which an announced import's file is to be put.
    #[must_use]
    pub fn announced_key(id: ImportId) -> String {
        format!("{IMPORTS}{id}/sales.csv")
    }

    /// The announced import that a key names, if it is of that form.
    #[must_use]
    pub fn announced_by(key: &str) -> Option<ImportId> {
        let (id, _) = key.strip_prefix(IMPORTS)?.split_once('/')?;
        id.parse().ok()
    }

    /// The key under which the API keeps a file that it imports itself.
    #[must_use]
    pub fn direct_key(id: ImportId) -> String {
        format!("direct/{id}.csv")
    }

    fn errors_key(id: ImportId) -> String {
        format!("errors/{id}/errors.csv")
    }

    fn plan_key(id: ImportId) -> String {
        format!("work/{id}/plan.json")
    }

    fn get(&self, key: &str) -> GetObjectFluentBuilder {
        self.client.get_object().bucket(&self.bucket).key(key)
    }

    /// The bytes `from..to` of one version of an object.
    ///
    /// The SDK's retries end where a response begins; one that breaks off on the way is asked for
    /// again here.
    ///
    /// # Errors
    ///
    /// [`FilesError`]: the object is gone or replaced, or the bucket fails.
    pub async fn read(
        &self,
        object: &ObjectVersion,
        from: u64,
        to: u64,
    ) -> Result<Bytes, FilesError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let out = self
                .get(&object.key)
                .if_match(format!("\"{}\"", object.etag))
                .range(format!("bytes={from}-{}", to.saturating_sub(1)))
                .send()
                .await
                .map_err(unread("GetObject"))?;
            match body(out.body).await {
                Err(_) if tries < READ_TRIES => {}
                read => return read,
            }
        }
    }

    /// Puts a file that the API received, and says which version it became.
    ///
    /// # Errors
    ///
    /// [`FilesError::Unavailable`] when the bucket fails.
    pub async fn put_direct(&self, id: ImportId, file: Bytes) -> Result<ObjectVersion, FilesError> {
        let (key, size) = (Self::direct_key(id), file.len() as u64);
        let put = self.put(&key, "text/csv", file).await?;
        Ok(ObjectVersion {
            key,
            etag: put,
            sequencer: String::new(),
            size,
        })
    }

    async fn put(
        &self,
        key: &str,
        kind: &str,
        body: impl Into<Bytes>,
    ) -> Result<String, FilesError> {
        let out = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .content_type(kind)
            .body(ByteStream::from(body.into()))
            .send()
            .await
            .map_err(failed("PutObject"))?;
        Ok(out.e_tag().unwrap_or_default().trim_matches('"').to_owned())
    }

    /// Keeps an import's plan.
    ///
    /// # Errors
    ///
    /// [`FilesError`] when the bucket fails.
    pub async fn put_plan(&self, id: ImportId, plan: &Plan) -> Result<(), FilesError> {
        let text = serde_json::to_vec(plan)?;
        self.put(&Self::plan_key(id), "application/json", text)
            .await?;
        Ok(())
    }

    /// An import's plan, if it came that far, has not expired, and is of this release's form.
    ///
    /// # Errors
    ///
    /// [`FilesError`] when the bucket fails.
    pub async fn plan(&self, id: ImportId) -> Result<Option<Plan>, FilesError> {
        let out = match self
            .get(&Self::plan_key(id))
            .send()
            .await
            .map_err(unread("GetObject"))
        {
            Ok(out) => out,
            Err(FilesError::Missing) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(serde_json::from_slice(&body(out.body).await?).ok())
    }

    /// The metadata that an uploaded object carries.
    ///
    /// # Errors
    ///
    /// [`FilesError`]: the object is gone or replaced, or the bucket fails.
    pub async fn metadata(
        &self,
        object: &ObjectVersion,
    ) -> Result<HashMap<String, String>, FilesError> {
        let out = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(&object.key)
            .if_match(format!("\"{}\"", object.etag))
            .send()
            .await
            .map_err(unread("HeadObject"))?;
        Ok(out.metadata.unwrap_or_default())
    }

    /// A link to an import's `errors.csv` that anyone who holds it can follow for `lifetime`.
    ///
    /// # Errors
    ///
    /// [`FilesError::Unavailable`] when no credentials are at hand.
    pub async fn errors_link(
        &self,
        id: ImportId,
        lifetime: Duration,
    ) -> Result<String, FilesError> {
        let presigning =
            PresigningConfig::expires_in(lifetime).map_err(|error| FilesError::Unavailable {
                operation: "presign",
                code: "lifetime".into(),
                source: Box::new(error),
            })?;
        let link = self
            .get(&Self::errors_key(id))
            .response_content_disposition("attachment; filename=\"errors.csv\"")
            .presigned(presigning)
            .await
            .map_err(failed("presign"))?;
        Ok(link.uri().to_owned())
    }

    /// Begins an import's `errors.csv`.
    #[must_use]
    pub fn errors_file(&self, id: ImportId) -> ObjectWriter<'_> {
        ObjectWriter {
            files: self,
            key: Self::errors_key(id),
            upload: None,
            parts: Vec::new(),
            buffer: Vec::new(),
        }
    }
}

async fn body(stream: ByteStream) -> Result<Bytes, FilesError> {
    let collected = stream
        .collect()
        .await
        .map_err(|error| FilesError::Unavailable {
            operation: "GetObject",
            code: "body".into(),
            source: Box::new(error),
        })?;
    Ok(collected.into_bytes())
}

/// Writes an object of any size from a few MiB of memory: in one put where it is small, else in
/// parts. Nothing is visible before [`finish`](Self::finish).
#[derive(Debug)]
pub struct ObjectWriter<'a> {
    files: &'a ImportFiles,
    key: String,
    upload: Option<String>,
    parts: Vec<CompletedPart>,
    buffer: Vec<u8>,
}

impl ObjectWriter<'_> {
    /// Appends `bytes`.
    ///
    /// # Errors
    ///
    /// [`FilesError::Unavailable`] when the bucket fails.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), FilesError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = PART.saturating_sub(self.buffer.len()).min(rest.len());
            let (head, tail) = rest.split_at(room);
            self.buffer.extend_from_slice(head);
            rest = tail;
            if self.buffer.len() == PART {
                let part = std::mem::take(&mut self.buffer);
                self.part(part).await?;
            }
        }
        Ok(())
    }

    async fn begin(&self) -> Result<String, FilesError> {
        let begun = self
            .files
            .client
            .create_multipart_upload()
            .bucket(&self.files.bucket)
            .key(&self.key)
            .content_type("text/csv")
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .send()
            .await
            .map_err(failed("CreateMultipartUpload"))?;
        Ok(begun.upload_id.unwrap_or_default())
    }

    async fn part(&mut self, part: Vec<u8>) -> Result<(), FilesError> {
        let upload = if let Some(upload) = &self.upload {
            upload.clone()
        } else {
            let upload = self.begin().await?;
            self.upload.insert(upload).clone()
        };
        let number = i32::try_from(self.parts.len() + 1).unwrap_or(i32::MAX);
        let out = self
            .files
            .client
            .upload_part()
            .bucket(&self.files.bucket)
            .key(&self.key)
            .upload_id(upload)
            .part_number(number)
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .body(ByteStream::from(part))
            .send()
            .await
            .map_err(failed("UploadPart"))?;
        let part = CompletedPart::builder()
            .part_number(number)
            .set_e_tag(out.e_tag)
            .set_checksum_crc32(out.checksum_crc32)
            .build();
        self.parts.push(part);
        Ok(())
    }

    /// Makes the object visible; nothing is written where nothing was appended.
    ///
    /// An upload that is never finished costs storage until the bucket's lifecycle rule ends it.
    ///
    /// # Errors
    ///
    /// [`FilesError::Unavailable`] when the bucket fails.
    pub async fn finish(mut self) -> Result<(), FilesError> {
        let last = std::mem::take(&mut self.buffer);
        if self.upload.is_none() {
            if !last.is_empty() {
                self.files.put(&self.key, "text/csv", last).await?;
            }
            return Ok(());
        }
        if !last.is_empty() {
            self.part(last).await?;
        }
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(self.parts))
            .build();
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(COMPLETE_TIMEOUT)
            .operation_timeout(2 * COMPLETE_TIMEOUT)
            .build();
        let completed = self
            .files
            .client
            .complete_multipart_upload()
            .bucket(&self.files.bucket)
            .key(&self.key)
            .set_upload_id(self.upload)
            .multipart_upload(parts)
            .customize()
            .config_override(aws_sdk_s3::config::Config::builder().timeout_config(timeouts))
            .send()
            .await;
        match completed {
            Ok(_) => Ok(()),
            // The reply to an earlier try was lost: the upload is gone because it is the object now.
            Err(error) if status(&error) == Some(404) => self
                .files
                .client
                .head_object()
                .bucket(&self.files.bucket)
                .key(&self.key)
                .send()
                .await
                .map(drop)
                .map_err(failed("HeadObject")),
            Err(error) => Err(failed("CompleteMultipartUpload")(error)),
        }
    }
}
