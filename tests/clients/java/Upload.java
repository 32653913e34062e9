import io.tus.java.client.ProtocolException;
import io.tus.java.client.TusClient;
import io.tus.java.client.TusExecutor;
import io.tus.java.client.TusURLMemoryStore;
import io.tus.java.client.TusUpload;
import io.tus.java.client.TusUploader;
import java.io.File;
import java.io.IOException;
import java.net.URL;

/** The program of tus-java-client's README: `Upload ENDPOINT FILE [UPLOAD-URL]`; with the last it begins or resumes there. */
public final class Upload {
    public static void main(String[] args) throws ProtocolException, IOException {
        TusClient client = new TusClient();
        client.setUploadCreationURL(new URL(args[0]));
        client.enableResuming(new TusURLMemoryStore());
        TusUpload upload = new TusUpload(new File(args[1]));

        TusExecutor executor = new TusExecutor() {
            @Override
            protected void makeAttempt() throws ProtocolException, IOException {
                TusUploader uploader = args.length > 2
                    ? client.beginOrResumeUploadFromURL(upload, new URL(args[2]))
                    : client.resumeOrCreateUpload(upload);
                uploader.setChunkSize(1024);
                do {
                    // The README prints the progress here.
                } while (uploader.uploadChunk() > -1);
                uploader.finish();
                System.out.println(uploader.getUploadURL());
            }
        };
        if (!executor.makeAttempts()) {
            throw new IOException("interrupted");
        }
    }
}
