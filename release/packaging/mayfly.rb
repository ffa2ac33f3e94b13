# The formula of Homebrew, for a tap: the release program fills it in.
class FleetingPluginMayfly < Formula
  desc "Disposable machines for GitLab Runner, on hardware of your own"
  homepage "{{.Homepage}}"
  version "{{.Version}}"
  license "Apache-2.0"

  on_macos do
    on_arm do
      url "{{.URL "darwin" "arm64"}}"
      sha256 "{{.SHA256 "darwin" "arm64"}}"
    end
    on_intel do
      url "{{.URL "darwin" "amd64"}}"
      sha256 "{{.SHA256 "darwin" "amd64"}}"
    end
  end

  on_linux do
    on_arm do
      url "{{.URL "linux" "arm64"}}"
      sha256 "{{.SHA256 "linux" "arm64"}}"
    end
    on_intel do
      url "{{.URL "linux" "amd64"}}"
      sha256 "{{.SHA256 "linux" "amd64"}}"
    end
  end

  def install
    bin.install Dir["fleeting-plugin-mayfly-*"].first => "fleeting-plugin-mayfly"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/fleeting-plugin-mayfly version")
  end
end
