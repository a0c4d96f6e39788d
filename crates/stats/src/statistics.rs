use std::path::{Path, PathBuf};

use roundwise_tensor_file::{PlainFile, check_finished};

use crate::StatsErrorKind as Kind;
use crate::importance::ImportanceMatrix;
use crate::shape::fingerprint;
use crate::side_car::SideCar;
use crate::{
    Curvature, Knowledge, LayerShape, LayerStatistics, LayerSummary, MixedInputs, Moment,
    OutputGradient, StatsError,
};

/// Statistics of the inputs of a model's layers: a side-car file, or an importance matrix of
/// llama.cpp.
///
/// Opening reads what names, shapes and places need; a layer's numbers are read when they are asked
/// for, so that memory is bounded by the largest layer. All methods take `&self` and may be called
/// from many threads.
#[derive(Debug)]
pub struct Statistics {
    path: PathBuf,
    layers: Vec<LayerShape>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    SideCar(SideCar),
    Importance(ImportanceMatrix),
}

impl Statistics {
    /// Opens `*.stats.safetensors`, a GGUF importance matrix or a legacy one, told apart by content.
    ///
    /// # Errors
    /// [`StatsErrorKind`](Kind) for every defect of the file's structure, and for a file that is being written. Numbers are checked when their
    /// layer is read.
    pub fn open(path: &Path) -> Result<Self, StatsError> {
        check_finished(path)?;
        let file = PlainFile::open(path)?;
        // Nine bytes: the magic number of GGUF, or the length of a JSON header and its brace.
        let mut start = [0; 9];
        let known = file.bytes().min(start.len() as u64) as usize;
        file.read_into(0, &mut start[..known])?;
        let is_named_so = path.extension().is_some_and(|extension| extension == "safetensors");
        if start.starts_with(b"GGUF") {
            Self::of_importance(path, ImportanceMatrix::open_gguf(path)?)
        // A damaged file with this ending gets the messages of a side-car. With other names the brace
        // behind the length of a safetensors header decides.
        } else if is_named_so || start[8] == b'{' {
            Self::open_side_car(path)
        } else {
            // The old container has no magic number. Its first name begins at byte 8, and not with a
            // brace.
            Self::of_importance(path, ImportanceMatrix::open_legacy(file)?)
        }
    }

    fn open_side_car(path: &Path) -> Result<Self, StatsError> {
        let (side_car, layers) = SideCar::open(path)?;
        Ok(Self { path: path.to_owned(), layers, source: Source::SideCar(side_car) })
    }

    fn of_importance(path: &Path, matrix: ImportanceMatrix) -> Result<Self, StatsError> {
        let layers = matrix.shapes();
        Ok(Self { path: path.to_owned(), layers, source: Source::Importance(matrix) })
    }

    /// Returns the path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the layers, sorted by module.
    pub fn layers(&self) -> &[LayerShape] {
        &self.layers
    }

    /// Returns the name of the program that made them.
    pub fn tool(&self) -> &str {
        match &self.source {
            Source::SideCar(side_car) => side_car.tool(),
            Source::Importance(_) => "llama.cpp",
        }
    }

    /// Returns the [`fingerprint`](crate::fingerprint) of the layers.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.layers)
    }

    /// Returns the shape of a module's weight.
    pub fn get(&self, module: &str) -> Option<&LayerShape> {
        self.position(module).map(|position| &self.layers[position])
    }

    /// Returns how much a module's statistics know of H, from the header alone.
    pub fn knowledge(&self, module: &str) -> Option<Knowledge> {
        self.knowledge_of(module, Moment::Inputs)
    }

    /// Returns how much a module's statistics know of a second moment, from the header alone; `None` where
    /// nothing is.
    pub fn knowledge_of(&self, module: &str, moment: Moment) -> Option<Knowledge> {
        let position = self.position(module)?;
        match &self.source {
            Source::SideCar(side_car) => side_car.knowledge(position, moment),
            Source::Importance(_) => (moment == Moment::Inputs).then_some(Knowledge::Diagonal),
        }
    }

    /// Returns the predictions that gradients are of, where the file has any.
    pub fn curvature(&self) -> Option<Curvature> {
        match &self.source {
            Source::SideCar(side_car) => side_car.curvature(),
            Source::Importance(_) => None,
        }
    }

    /// Returns whether the gradients of a module's outputs are known, from the header alone.
    pub fn has_gradient(&self, module: &str) -> bool {
        self.position(module).is_some_and(|position| match &self.source {
            Source::SideCar(side_car) => side_car.has_gradient(position),
            Source::Importance(_) => false,
        })
    }

    /// Returns the rows of G, where it is known.
    pub(crate) fn side_of_outputs(&self, module: &str) -> Option<u64> {
        let position = self.position(module)?;
        match &self.source {
            Source::SideCar(side_car) => side_car.side_of_outputs(position),
            Source::Importance(_) => None,
        }
    }

    /// Returns whether a module's mean is known, from the header alone.
    pub fn has_mean(&self, module: &str) -> bool {
        self.position(module).is_some_and(|position| match &self.source {
            Source::SideCar(side_car) => side_car.has_mean(position),
            Source::Importance(matrix) => matrix.has_mean(position),
        })
    }

    /// Returns whether a module's largest input is known, from the header alone.
    pub fn has_largest(&self, module: &str) -> bool {
        self.position(module).is_some_and(|position| match &self.source {
            Source::SideCar(side_car) => side_car.has_largest(position),
            Source::Importance(_) => false,
        })
    }

    /// Returns the number of inputs that a module saw. Reads 8 bytes.
    ///
    /// # Errors
    /// When there is no such module, its count is not positive, or the file has been cut.
    pub fn count(&self, module: &str) -> Result<u64, StatsError> {
        let position = self.expect(module)?;
        match &self.source {
            Source::SideCar(side_car) => side_car
                .count(position, Moment::Inputs)?
                .map_err(|kind| kind.at_layer(&self.path, module)),
            Source::Importance(matrix) => Ok(matrix.count(position)),
        }
    }

    /// Reads and checks one layer.
    ///
    /// # Errors
    /// When there is no such module, its numbers contradict each other, or the file has been cut.
    pub fn layer(&self, module: &str) -> Result<LayerStatistics, StatsError> {
        let position = self.expect(module)?;
        let layer = match &self.source {
            Source::SideCar(side_car) => side_car.layer(position)?,
            Source::Importance(matrix) => matrix.layer(position)?,
        };
        layer.map_err(|kind| kind.at_layer(&self.path, module))
    }

    /// Reads and checks what is known of a layer's inputs as attention mixes them, if anything.
    ///
    /// # Errors
    /// As [`Self::layer`].
    pub fn mixed(&self, module: &str) -> Result<Option<MixedInputs>, StatsError> {
        let position = self.expect(module)?;
        match &self.source {
            Source::SideCar(side_car) => {
                let mixed = side_car.mixed(position, &self.layers[position])?;
                mixed.map_err(|kind| kind.at_layer(&self.path, module))
            }
            Source::Importance(_) => Ok(None),
        }
    }

    /// Reads and checks what is known of the gradients of a layer's outputs, if anything.
    ///
    /// # Errors
    /// As [`Self::layer`].
    pub fn gradient(&self, module: &str) -> Result<Option<OutputGradient>, StatsError> {
        let position = self.expect(module)?;
        match &self.source {
            Source::SideCar(side_car) => {
                let gradient = side_car.gradient(position)?;
                gradient.map_err(|kind| kind.at_layer(&self.path, module))
            }
            Source::Importance(_) => Ok(None),
        }
    }

    /// Returns what a table of layers shows of one. Reads a factor but no covariance.
    ///
    /// # Errors
    /// Those of [`Self::layer`], except for defects of a covariance.
    pub fn summary(&self, module: &str) -> Result<LayerSummary, StatsError> {
        let shape = self.layers[self.expect(module)?].clone();
        let knowledge = self.knowledge(module).unwrap_or(Knowledge::Diagonal);
        // A covariance may take hundreds of megabytes, and adds nothing to the line.
        let (samples, rank_energy) = match knowledge {
            Knowledge::Full => (self.count(module)?, 1.0),
            Knowledge::Diagonal => (self.count(module)?, 0.0),
            Knowledge::Factor { .. } => {
                let layer = self.layer(module)?;
                (layer.count(), layer.rank_energy())
            }
        };
        Ok(LayerSummary {
            shape,
            samples,
            knowledge,
            rank_energy,
            has_mean: self.has_mean(module),
            mixed: self.knowledge_of(module, Moment::Mixed),
            weighted: self.knowledge_of(module, Moment::Weighted),
            outputs: self.knowledge_of(module, Moment::Outputs),
            has_gradient: self.has_gradient(module),
        })
    }

    fn position(&self, module: &str) -> Option<usize> {
        self.layers.binary_search_by(|layer| layer.module.as_str().cmp(module)).ok()
    }

    fn expect(&self, module: &str) -> Result<usize, StatsError> {
        self.position(module).ok_or_else(|| Kind::UnknownLayer.at_layer(&self.path, module))
    }
}
