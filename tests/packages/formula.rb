# Runs a formula's `install` and `test` with the part of Homebrew that ours uses, and fails on all else:
#
#   ruby formula.rb FORMULA SOURCES PREFIX
require "digest"
require "fileutils"
require "pathname"
require "tmpdir"

FORMULA, SOURCES, PREFIX = ARGV.map { |name| Pathname.new(name) }

class Pathname
  # Homebrew moves what it installs, and warns when that is nothing.
  def install(*files)
    raise "nothing is installed into #{self}" if files.flatten.empty?

    mkpath
    FileUtils.mv(files.flatten, self)
  end
end

class Service
  def initialize(formula) = @formula = formula
  def opt_bin = @formula.bin
  def var = PREFIX / "var"
  def run(command)
    raise "#{command.first} is not there" unless command.first.executable?

    # What launchd writes itself grows for ever.
    flag, file = command.drop(1)
    raise "the log is not the program's own" unless flag == "--log-file" && file.to_s.start_with?(var.to_s)
  end
  def keep_alive(crashed:) = crashed
  def process_type(kind) = %i[background standard interactive].include?(kind) || raise("no type: #{kind}")
  def error_log_path(path) = path
end

class Formula
  include FileUtils

  class << self
    attr_reader :known, :on_test, :of_service

    %i[desc homepage url sha256].each do |name|
      define_method(name) { |value| (@known ||= {})[name] = value }
    end
    def license(any_of:) = any_of
    def depends_on(what) = what == { "rust" => :build } || raise("#{what} is not expected")
    def service(&block) = @of_service = block
    def test(&block) = @on_test = block
    def inherited(formula) = Formula.singleton_class.define_method(:ours) { formula }
  end

  def version = self.class.known[:url][/(\d+\.\d+\.\d+)\.tar\.gz\z/, 1]
  def std_cargo_args = ["--locked", "--root", PREFIX.to_s, "--path", "."]
  def bin = PREFIX / "bin"
  def man1 = PREFIX / "share/man/man1"
  def man5 = PREFIX / "share/man/man5"
  def doc = PREFIX / "share/doc/hermes-proxyd"
  def pkgshare = PREFIX / "share/hermes-proxyd"
  def bash_completion = PREFIX / "etc/bash_completion.d"
  def zsh_completion = PREFIX / "share/zsh/site-functions"
  def fish_completion = PREFIX / "share/fish/vendor_completions.d"

  def mkdir(name, &block)
    FileUtils.mkdir_p(name)
    Dir.chdir(name, &block)
  end

  def system(*command)
    Kernel.system(*command.map(&:to_s), out: :err) or raise "#{command} failed"
  end

  def shell_output(command, code = 0)
    said = `#{command}`
    raise "#{command} ended with #{$?.exitstatus}, and said #{said}" unless $?.exitstatus == code

    said
  end

  def assert_match(wanted, text)
    raise "#{text} has no #{wanted}" unless text.include?(wanted)
  end
end

load FORMULA.to_s
formula = Formula.ours.new
known = Formula.ours.known
raise "the sum is another" unless Digest::SHA256.file(SOURCES).hexdigest == known[:sha256]
raise "the sources are called otherwise" unless File.basename(known[:url]) == SOURCES.basename.to_s
raise "a description has neither a full stop nor its formula's name" if known[:desc].match?(/\.\z|hermes-proxyd/i)

Dir.mktmpdir do |folder|
  formula.system "tar", "-xzf", SOURCES.realpath, "-C", folder, "--strip-components=1"
  Dir.chdir(folder) { formula.install }
end
Service.new(formula).instance_eval(&Formula.ours.of_service)
formula.instance_eval(&Formula.ours.on_test)
puts "#{SOURCES.basename}: installed, its service's program is there, its test passes"
