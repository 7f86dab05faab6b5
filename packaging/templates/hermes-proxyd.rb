# Before publishing, set `homepage` in Cargo.toml: an address that ends in .example is a placeholder.
class HermesProxyd < Formula
  desc "Lets every app use the AI subscription you already pay for"
  homepage "@URL@"
  url "@URL@/releases/v@VERSION@/hermes-proxyd-@VERSION@.tar.gz"
  sha256 "@SHA256@"
  license any_of: ["MIT", "Apache-2.0"]

  depends_on "rust" => :build

  def install
    system "cargo", "install", "--profile", "dist", *std_cargo_args
    mkdir "made" do
      system bin/"hermesctl", "man", "--dir", "man"
      system bin/"hermesctl", "completions", "--dir", "completions"
      man1.install Dir["man/*.1"]
      man5.install Dir["man/*.5"]
      bash_completion.install Dir["completions/bash/*"]
      zsh_completion.install Dir["completions/zsh/*"]
      fish_completion.install Dir["completions/fish/*"]
    end
    pkgshare.install "packaging/hermes-proxyd.schema.json"
    system "packaging/documents.sh", doc
  end

  service do
    run [opt_bin/"hermes-proxyd", "--log-file", var/"log/hermes-proxyd.log"]
    keep_alive crashed: true
    process_type :background
    # What is said before the log is there.
    error_log_path var/"log/hermes-proxyd.log"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/hermesctl --version")
    system bin/"hermes-proxyd", "--check"
    # Nothing runs in the test's own home.
    shell_output("#{bin}/hermesctl proxy status", 3)
  end
end
